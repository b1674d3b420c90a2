"""Where predictions go: to stdout, or into a CSV file that grows and is continued after a kill.

Beside a file `scores.csv` stands `scores.csv.json`, which says which model wrote it; it is read before more
rows are added.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from poster_ml.errors import DatasetError, mask_passwords
from poster_ml.files import atomic_path, begins_with, check_output_file
from poster_ml.serving.identity import ModelIdentity


@dataclass(frozen=True)
class Row:
    """One poster: the path as given (`files.printable`), and the columns of `PosterModel`."""

    poster: str
    probability_fresh: float | None
    label: str | None
    threshold: float | None
    error: str | None


COLUMNS = tuple(item.name for item in fields(Row))


def print_table(batches: Iterable[Sequence[Row]]) -> None:
    """Prints columns for people; the path stands last, since it has no fixed width."""
    print(f"{'P(Fresh)':>8}  {'label':<6}  poster", flush=True)
    for rows in batches:
        for row in rows:
            number = "-" if row.probability_fresh is None else f"{row.probability_fresh:.4f}"
            reason = f"  ({row.error})" if row.error else ""
            print(f"{number:>8}  {row.label or '-':<6}  {row.poster}{reason}", flush=True)


def print_csv(batches: Iterable[Sequence[Row]]) -> None:
    """Prints CSV."""
    print(_csv_text([COLUMNS]), end="", flush=True)
    for rows in batches:
        print(_csv_text([astuple(row) for row in rows]), end="", flush=True)


def print_json(batches: Iterable[Sequence[Row]]) -> None:
    """Prints one JSON array, an object per line; it is closed only where all rows were made."""
    separator = "[\n"
    for rows in batches:
        for row in rows:
            print(separator + json.dumps(asdict(row)), end="", flush=True)
            separator = ",\n"
    print("[]" if separator == "[\n" else "\n]")


FORMATS = {"table": print_table, "csv": print_csv, "json": print_json}


def append_csv(batches: Iterable[Sequence[Row]], path: Path, size: int) -> None:
    """Writes a CSV file batch by batch; each is on the disk before the next one is made.

    Args:
        batches: rows, possibly of a generator that makes them.
        path: of the file, created where it is missing.
        size: bytes of it that are kept, see `read_scored`; 0 starts it afresh.

    Raises: DatasetError where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("r+b" if size else "wb")
    except OSError as error:
        raise _unwritable(path, error) from error
    with handle:
        handle.truncate(size)
        handle.seek(size)
        if not size:
            _append(handle, [COLUMNS], path)
        for rows in batches:
            _append(handle, [astuple(row) for row in rows], path)


def check_out(path: Path) -> None:
    """Refuses a file that predictions cannot be written to, before a model is loaded.

    Raises: DatasetError where the name is not one of a CSV file; OutputError where it, or the record beside
        it, holds something else.
    """
    if path.suffix.lower() != ".csv":
        raise DatasetError(f"--out must end in .csv, received {str(path)!r}")
    check_output_file(path, begins_with(",".join(COLUMNS) + "\n"), "predictions")
    record = _read_record(record_path(path))
    check_output_file(
        record_path(path), lambda head: record is not None, "record of predictions", "beside --out,"
    )


def read_scored(path: Path) -> tuple[set[str], int]:
    """Reads which posters a file has whole rows of; a row that a kill cut in two does not count.

    Returns: their names, and how many bytes these rows and the header take; 0 for a file that is new.
    Raises: as `check_out`; DatasetError where the file cannot be read or its rows are no predictions.
    """
    check_out(path)
    if not path.exists():
        return set(), 0
    try:
        with path.open("rb") as handle:
            return _whole_rows(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"--out {path} exists and holds no predictions: give another file") from error


def _whole_rows(handle: BinaryIO) -> tuple[set[str], int]:
    """Does the work of `read_scored`. Raises: ValueError, csv.Error for a file that holds something else."""
    known: set[str] = set()
    position = good = 0
    record = b""
    for line in handle:
        position += len(line)
        record += line
        if not line.endswith(b"\n") or record.count(b'"') % 2:
            continue  # cut off, or a file name with a line break in it
        cells = next(csv.reader([record.decode("utf-8", "surrogateescape")]))
        if good:
            known.add(cells[0])
        elif tuple(cells) != COLUMNS:
            raise ValueError(f"another header: {cells}")
        good, record = position, b""
    if good == 0 and not ",".join(COLUMNS).encode().startswith(record):
        raise ValueError(f"no header: {record[:80]!r}")
    return known, good


def record_path(out: Path) -> Path:
    """Returns where the record of `out` lies: scores.csv has scores.csv.json."""
    return out.with_name(out.name + ".json")


def write_record(out: Path, identity: ModelIdentity) -> None:
    """Writes which model makes the rows of `out`: its id, URI, version, run and settings.

    Raises: as `check_out`; DatasetError where it cannot be written.
    """
    check_out(out)
    path = record_path(out)
    text = mask_passwords(json.dumps(identity.as_dict(), indent=2)) + "\n"
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error


def check_same_model(out: Path, identity: ModelIdentity) -> None:
    """Refuses to add rows to those of another model.

    Raises: DatasetError naming both models, or saying that it is not known which one wrote `out`.
    """
    path = record_path(out)
    record = _read_record(path)
    remedy = "give another --out, or start it afresh with --no-resume"
    if record is None:
        raise DatasetError(
            f"--out {out} has rows, and no {path.name} beside it says which model wrote them: {remedy}"
        )
    if record["model_id"] != identity.model_id:
        version = record.get("version")
        before = f"{version} ({record['model_id']})" if version else record["model_id"]
        raise DatasetError(f"--out {out} holds rows of {before}, not of {identity.text()}: {remedy}")


def _read_record(path: Path) -> dict[str, Any] | None:
    """Returns the record, or None where there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("model_id"), str) else None


def _append(handle: BinaryIO, rows: Sequence[tuple[Any, ...]], path: Path) -> None:
    try:
        handle.write(_csv_text(rows).encode("utf-8", "surrogateescape"))
        handle.flush()
        os.fsync(handle.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error


def _csv_text(rows: Sequence[tuple[Any, ...]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _unwritable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(f"--out {path} cannot be written: {error.strerror or error}")
