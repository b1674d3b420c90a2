"""Where predictions go: stdout, a CSV file that grows, or a Parquet file made of parts. Both resume."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from poster_ml.errors import DatasetError
from poster_ml.files import atomic_path, begins_with, check_output_file
from poster_ml.workflows.prediction_record import check_record

FORMATS = ("table", "csv", "json", "parquet")
PART_ROWS = 4096  # rows of a Parquet part: what a kill makes score again at most


@dataclass(frozen=True)
class Row:
    """One poster: the path as given (`files.printable`), and the columns of `PosterModel`."""

    poster: str
    probability_fresh: float | None
    label: str | None
    threshold: float | None
    error: str | None


COLUMNS = tuple(item.name for item in fields(Row))


class Writer:
    """Takes rows as they come; used in a `with` block."""

    def write(self, rows: Sequence[Row]) -> None:
        """Writes the rows of one batch."""
        raise NotImplementedError

    def finish(self) -> None:
        """Called once, when all rows were written."""

    def close(self) -> None:
        """Called at the end in any case."""

    def __enter__(self) -> Self:
        """Returns the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes where nothing was raised, and closes."""
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()


def check_out(form: str, out: Path | None) -> None:
    """Refuses a form or a path that cannot be written, before a model is loaded.

    Raises: DatasetError saying what is allowed; OutputError where `out` holds something else.
    """
    if out is None:
        if form == "parquet":
            raise DatasetError("--format parquet needs --out FILE.parquet")
        return
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise DatasetError(f"--out must end in .csv or .parquet, got {str(out)!r}")
    # A Parquet file says what it is at its end: it is looked at when it is opened.
    ours = begins_with(",".join(COLUMNS) + "\n") if out.suffix.lower() == ".csv" else (lambda head: True)
    check_output_file(out, ours, "predictions")
    check_record(out)


def open_writer(form: str, out: Path | None, resume: bool) -> tuple[Writer, set[str]]:
    """Opens the writer for a form of output.

    Args:
        form: "table", "csv" or "json", on stdout.
        out: a .csv or .parquet file, which then decides the form.
        resume: keep what `out` holds.

    Returns: the writer, and the posters that `out` holds whole rows of.
    Raises: DatasetError where `out` cannot be written, or holds something else.
    """
    check_out(form, out)
    if out is None:
        return {"table": TableWriter, "csv": CsvStream, "json": JsonStream}[form](), set()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        kind = CsvFile if out.suffix.lower() == ".csv" else ParquetFile
        writer: CsvFile | ParquetFile = kind(out, resume)
    except OSError as error:
        raise DatasetError(f"--out {out} cannot be written: {error.strerror or error}") from error
    return writer, writer.known


class TableWriter(Writer):
    """Columns for people; the path stands last, since it has no fixed width."""

    def __init__(self) -> None:
        print(f"{'P(Fresh)':>8}  {'label':<6}  poster")

    def write(self, rows: Sequence[Row]) -> None:
        """Prints one line per row."""
        for row in rows:
            number = "-" if row.probability_fresh is None else f"{row.probability_fresh:.4f}"
            reason = f"  ({row.error})" if row.error else ""
            print(f"{number:>8}  {row.label or '-':<6}  {row.poster}{reason}")
        sys.stdout.flush()


class CsvStream(Writer):
    """CSV on stdout."""

    def __init__(self) -> None:
        self.writer = csv.writer(sys.stdout, lineterminator="\n")
        self.writer.writerow(COLUMNS)

    def write(self, rows: Sequence[Row]) -> None:
        """Prints one line per row."""
        self.writer.writerows(astuple(row) for row in rows)
        sys.stdout.flush()


class JsonStream(Writer):
    """One JSON array on stdout, an object per line."""

    def __init__(self) -> None:
        self.separator = "[\n"

    def write(self, rows: Sequence[Row]) -> None:
        """Prints one object per row."""
        for row in rows:
            print(self.separator + json.dumps(asdict(row)), end="")
            self.separator = ",\n"
        sys.stdout.flush()

    def finish(self) -> None:
        """Closes the array."""
        print("[]" if self.separator == "[\n" else "\n]")


class CsvFile(Writer):
    """A CSV file that grows batch by batch; a row that a kill cut in two goes when it is opened again."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.known: set[str] = set()
        try:
            size = self._keep_whole_rows(path) if resume and path.exists() else 0
        except csv.Error as error:
            raise self._something_else(path) from error
        self.handle = path.open("r+b" if size else "wb")
        self.handle.truncate(size)
        self.handle.seek(size)
        if not size:
            self._append([COLUMNS])

    def write(self, rows: Sequence[Row]) -> None:
        """Appends the rows, on the disk when this returns."""
        self._append([astuple(row) for row in rows])

    def close(self) -> None:
        """Closes the file."""
        self.handle.close()

    def _append(self, rows: Sequence[tuple[Any, ...]]) -> None:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        self.handle.write(buffer.getvalue().encode("utf-8", "surrogateescape"))
        self.handle.flush()
        os.fsync(self.handle.fileno())

    def _keep_whole_rows(self, path: Path) -> int:
        """Learns the posters of all whole rows; returns how many bytes they and the header take."""
        position = good = 0
        record = b""
        with path.open("rb") as handle:
            for line in handle:
                position += len(line)
                record += line
                if not line.endswith(b"\n") or record.count(b'"') % 2:
                    continue  # cut off, or a file name with a line break in it
                cells = next(csv.reader([record.decode("utf-8", "surrogateescape")]))
                if good == 0 and tuple(cells) != COLUMNS:
                    raise self._something_else(path)
                if good:
                    self.known.add(cells[0])
                good, record = position, b""
        if good == 0 and not ",".join(COLUMNS).encode().startswith(record):
            raise self._something_else(path)
        return good

    @staticmethod
    def _something_else(path: Path) -> DatasetError:
        return DatasetError(f"--out {path} exists and holds no predictions: give another file")


class ParquetFile(Writer):
    """A Parquet file, put together at the end from whole parts in a folder beside it."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.parts = path.with_name(f".{path.name}.parts")
        self.buffer: list[Row] = []
        if not resume:
            shutil.rmtree(self.parts, ignore_errors=True)
            path.unlink(missing_ok=True)
        self.parts.mkdir(exist_ok=True)
        self.known = {name for part in self._sources() for name in self._posters(part)}

    def write(self, rows: Sequence[Row]) -> None:
        """Keeps the rows until a part is full."""
        self.buffer.extend(rows)
        if len(self.buffer) >= PART_ROWS:
            self._write_part()

    def finish(self) -> None:
        """Puts the parts together: the file is there whole, or as it was."""
        from pyarrow import parquet

        self._write_part()
        sources = self._sources()
        if sources == [self.path]:
            return
        with atomic_path(self.path) as temporary, parquet.ParquetWriter(temporary, _schema()) as target:
            seen: set[str] = set()
            for source in sources:
                for batch in parquet.ParquetFile(source).iter_batches(batch_size=PART_ROWS):
                    # A kill between the rename and the removal of the parts leaves rows in both.
                    keep = [name not in seen for name in batch.column("poster").to_pylist()]
                    seen.update(batch.column("poster").to_pylist())
                    target.write_batch(batch.filter(_mask(keep)))
        shutil.rmtree(self.parts, ignore_errors=True)

    def close(self) -> None:
        """Keeps what was scored when the work was interrupted."""
        if self.parts.is_dir():
            self._write_part()
            if not any(self.parts.iterdir()):
                self.parts.rmdir()

    def _write_part(self) -> None:
        import pyarrow
        from pyarrow import parquet

        if not self.buffer:
            return
        table = pyarrow.Table.from_pylist([asdict(row) for row in self.buffer], schema=_schema())
        number = 1 + max((int(part.stem) for part in self.parts.glob("*.parquet")), default=0)
        with atomic_path(self.parts / f"{number:08d}.parquet") as temporary:
            parquet.write_table(table, temporary)
        self.buffer = []

    def _sources(self) -> list[Path]:
        whole = [self.path] if self.path.exists() else []
        return whole + sorted(self.parts.glob("[0-9]*.parquet"))

    def _posters(self, part: Path) -> list[str]:
        import pyarrow
        from pyarrow import parquet

        try:
            if not parquet.read_schema(part).equals(_schema()):
                raise DatasetError(f"--out {self.path} exists and holds no predictions: give another file")
            return list(parquet.read_table(part, columns=["poster"]).column("poster").to_pylist())
        except pyarrow.ArrowInvalid as error:
            raise DatasetError(
                f"--out {self.path} exists and is no Parquet file: give another file"
            ) from error


def _schema() -> Any:
    import pyarrow

    text, number = pyarrow.string(), pyarrow.float64()
    types = dict(zip(COLUMNS, (text, number, text, number, text), strict=True))
    return pyarrow.schema(list(types.items()))


def _mask(keep: Sequence[bool]) -> Any:
    import pyarrow

    return pyarrow.array(keep, type=pyarrow.bool_())
