"""Where predictions go: to stdout, or into a CSV file that grows and is continued after a kill.

Beside a file `scores.csv` stands `scores.csv.json`, which says which model wrote it; it is read
before more rows are added. Rows come as tables with the columns `COLUMNS`: the path as given
(`files.printable`) and what `PosterModel` answers.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poster_ml.errors import DatasetError, mask_passwords
from poster_ml.files import begins_with, check_output_file, write_text
from poster_ml.serving.settings import COLUMNS as ANSWER_COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("poster", *ANSWER_COLUMNS)
FORMATS = ("table", "csv", "json")
HEADER = ",".join(COLUMNS) + "\n"


@contextmanager
def printed_rows(form: str) -> Iterator[Callable[[DataFrame], None]]:
    """Gives a function that prints a batch of rows; a JSON array is closed only where all rows were made.

    Args:
        form: "table" (the path stands last, since it has no fixed width), "csv" or "json".
    """
    heads = {"table": f"{'P(Fresh)':>8}  {'label':<6}  poster\n", "csv": HEADER, "json": ""}
    print(heads[form], end="", flush=True)
    separator = "[\n"

    def write(rows: DataFrame) -> None:
        nonlocal separator
        if form == "csv":
            print(_csv_text(rows), end="", flush=True)
            return
        for row in rows.to_dict("records"):
            if form == "json":
                print(separator + json.dumps(row), end="", flush=True)
                separator = ",\n"
                continue
            number = "-" if row["label"] is None else f"{row['probability_fresh']:.4f}"
            print(f"{number:>8}  {row['label'] or '-':<6}  {row['poster']}{_remark(row)}", flush=True)

    yield write
    if form == "json":
        print("[]" if separator == "[\n" else "\n]")


def _remark(row: Mapping[Any, Any]) -> str:
    """Returns what stands after the path in a table: the error, or what year and genres say."""
    remarks = [row["error"]] if row["error"] else []
    if row["poster_effect"] is not None:
        remarks += [
            f"year and genres alone {row['probability_metadata']:.4f}, with the poster "
            f"{row['probability_combined']:.4f}: {row['poster_effect']:+.4f}"
        ]
    remarks += [row["note"]] if row["note"] else []
    return "".join(f"  ({remark})" for remark in remarks)


@contextmanager
def written_rows(path: Path, size: int) -> Iterator[Callable[[DataFrame], None]]:
    """Gives a function that adds a batch of rows to a CSV file; when it returns, they are on the disk.

    Args:
        path: of the file, made where it is missing.
        size: bytes of it that are kept, see `read_scored`; 0 starts it afresh.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if size else "wb") as handle:
        handle.truncate(size)
        handle.seek(size)

        def append(text: str) -> None:
            handle.write(text.encode("utf-8", "surrogateescape"))
            handle.flush()
            os.fsync(handle.fileno())

        if not size:
            append(HEADER)
        yield lambda rows: append(_csv_text(rows))


def check_out(path: Path) -> None:
    """Refuses a file that predictions cannot be written to, before a model is loaded.

    Raises: DatasetError where the name is not one of a CSV file; OutputError where it, or the
        record beside it, holds something else.
    """
    if path.suffix.lower() != ".csv":
        raise DatasetError(f"--out must end in .csv, received {str(path)!r}")
    check_output_file(path, begins_with(HEADER), "predictions")
    record = _read_record(path)
    check_output_file(record_path(path), lambda head: bool(record), "record of predictions", "beside --out,")


def read_scored(path: Path) -> tuple[set[str], int]:
    """Reads which posters a file has whole rows of; what a kill cut off does not count.

    Args:
        path: checked by `check_out`.

    Returns: their names, and how many bytes these rows and the header take; 0 for a file that is new.
    Raises: DatasetError where its rows are not predictions.
    """
    content = path.read_bytes() if path.exists() else b""
    end = content.rfind(b"\n") + 1
    while content.count(b'"', 0, end) % 2:  # inside a file name with a line break
        end = content.rfind(b"\n", 0, end - 1) + 1
    text = content[:end].decode("utf-8", "surrogateescape")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        rows = [[]]
    if any(len(row) != len(COLUMNS) for row in rows):
        raise DatasetError(f"--out {path} exists and holds no predictions: give another file")
    return {row[0] for row in rows[1:]}, end


def record_path(out: Path) -> Path:
    """Returns where the record of `out` lies: scores.csv has scores.csv.json."""
    return out.with_name(out.name + ".json")


def claim(out: Path, identity: dict[str, Any], *, has_rows: bool) -> None:
    """Writes what makes the rows of `out`; where it has some, refuses to add those of another model or table.

    Args:
        out: checked by `check_out`.
        identity: as `serving.load.identify` returns it; `movies`: of `poster_files.facts_digest`.
        has_rows: whether rows of `out` are kept.

    Raises: DatasetError naming both models, or saying that it is not known which one wrote `out`.
    """
    if not has_rows:
        write_text(record_path(out), mask_passwords(json.dumps(identity, indent=2)) + "\n")
        return
    remedy = "give another --out, or start it afresh with --no-resume"
    record = _read_record(out)
    if not record:
        raise DatasetError(
            f"--out {out} has rows, and no {out.name}.json beside it says which model wrote them: {remedy}"
        )
    old, new = (f"{one.get('version') or 'the model'} ({one['model_id']})" for one in (record, identity))
    if record["model_id"] != identity["model_id"]:
        raise DatasetError(f"--out {out} holds rows of {old}, not of {new}: {remedy}")
    if record.get("movies", "") != identity.get("movies", ""):
        raise DatasetError(f"--out {out} holds rows with other years and genres: {remedy}")


def _read_record(out: Path) -> dict[str, Any]:
    """Returns the record beside `out`, empty where there is none."""
    try:
        record = json.loads(record_path(out).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("model_id"), str) else {}


def _csv_text(rows: DataFrame) -> str:
    return str(rows.to_csv(index=False, header=False, lineterminator="\n"))
