"""Table files as they come: CSV with any delimiter, TSV, Parquet, gzipped or not, in any usual encoding.

The content decides what a file is, not its name. Everything leaves as text; nothing is guessed to be a
number, so leading zeros stay.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poster_ml.errors import TableError

if TYPE_CHECKING:
    import pandas as pd

_END = "\x00end of table\x00"
_LONGEST_FIELD = 2**27  # characters; the csv module's own limit of 131,072 is met by real plot texts
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class RawTable:
    """A table as text.

    Args:
        frame: one column of `str` per column of the file; the index is the data row's number from 1.
        malformed: (row number, reason) of the rows that do not fit the header; they are not in `frame`.
        encoding: how the text was read: a Python codec name, or "parquet".
    """

    frame: pd.DataFrame
    malformed: tuple[tuple[int, str], ...]
    encoding: str


def read_raw(path: Path) -> RawTable:
    """Reads a table file.

    Args:
        path: CSV (delimiter `,`, `;`, `|` or tab), TSV or Parquet, each also gzipped.

    Raises: TableError where there is no such file, it is no table, or it has no rows.
    """
    content = _read_bytes(path)
    if content[:4] == b"PAR1":
        return RawTable(_parquet_frame(content, path), (), "parquet")
    text, encoding = _decode(content, path)
    header, rows, malformed = _split_rows(text, path)
    if not rows and not malformed:
        raise TableError(f"{path}: no rows below the header; give a table with one row per movie")
    import pandas as pd

    numbers = [number for number, _ in rows]
    frame = pd.DataFrame([row for _, row in rows], columns=header, index=numbers, dtype=object)
    return RawTable(frame, tuple(malformed), encoding)


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except IsADirectoryError as error:
        raise TableError(f"{path} is a folder; give the table itself, a CSV, TSV or Parquet file") from error
    except FileNotFoundError as error:
        raise TableError(f"no table at {path}; give an existing CSV, TSV or Parquet file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"{path}: the gzip file is cut short or broken; fetch it again") from error
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.strip():
        raise TableError(f"{path} is empty; give a table with a header and one row per movie")
    return content


def _decode(content: bytes, path: Path) -> tuple[str, str]:
    """Turns bytes into text: byte-order mark, then UTF-8, then UTF-16 without a mark, then cp1252."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding), encoding
            except UnicodeDecodeError as error:
                raise TableError(f"{path}: broken {encoding} text at byte {error.start}") from error
    head = content[:4096]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    # Latin text in UTF-16 has a zero in nearly every second byte, and only there.
    if max(even, odd) > 0.4 * len(head) and min(even, odd) < 0.03 * len(head):
        encoding = "utf-16-le" if odd > even else "utf-16-be"
        return content.decode(encoding, errors="replace"), encoding
    if even or odd or head[:4] == b"PK\x03\x04":
        raise TableError(
            f"{path} is no text (an Excel or other binary file?); save the table as CSV or Parquet"
        )
    for encoding in ("utf-8", "cp1252"):
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1"), "latin-1"  # takes every byte: the five that cp1252 leaves out


def _split_rows(
    text: str, path: Path
) -> tuple[list[str], list[tuple[int, list[str]]], list[tuple[int, str]]]:
    """Splits the text into the header, the rows that fit it, and what is wrong with the others."""
    records = _records(text, _delimiter(text), path)
    header = _unique_names(next((record for record in records if record), []))
    rows: list[tuple[int, list[str]]] = []
    malformed: list[tuple[int, str]] = []
    for number, record in enumerate((record for record in records if record), start=1):
        if len(record) == len(header):
            rows.append((number, record))
        else:
            malformed.append(
                (number, f"malformed row: {len(record)} fields where the header has {len(header)}")
            )
    return header, rows, malformed


def _records(text: str, delimiter: str, path: Path) -> Iterator[list[str]]:
    """Yields the records of a CSV text; a quote that is never closed is an error, not a giant last field."""
    previous = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.reader(itertools.chain(io.StringIO(text, newline=""), [_END]), delimiter=delimiter)
        begins = 1
        for record in reader:
            if record == [_END]:
                return
            if record and record[-1].endswith(_END):
                raise TableError(
                    f"{path}: a quote opened after line {begins - 1} is never closed; mend the row"
                )
            yield record
            begins = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"{path}: line {reader.line_num}: {error}") from error
    finally:
        csv.field_size_limit(previous)


def _delimiter(text: str) -> str:
    """Returns the delimiter that splits the first line into most fields; a comma where none does."""
    line = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    return max(",\t;|", key=lambda delimiter: len(next(csv.reader([line], delimiter=delimiter))))


def _unique_names(names: Sequence[str]) -> list[str]:
    """Strips column names; later ones of the same name get a number."""
    seen: dict[str, int] = {}
    unique = []
    for name in (name.strip() for name in names):
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _parquet_frame(content: bytes, path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow
    from pyarrow import parquet

    try:
        # Not to_pandas: it would turn whole numbers with gaps into 114709.0.
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        detail = " ".join(str(error).split())
        raise TableError(f"{path} is a broken Parquet file: {detail}") from error
    if table.num_rows == 0:
        raise TableError(f"{path}: no rows; give a table with one row per movie")
    names = _unique_names([str(name) for name in table.column_names])
    values = {
        name: [_as_text(value) for value in column.to_pylist()]
        for name, column in zip(names, table.columns, strict=True)
    }
    return pd.DataFrame(values, index=range(1, table.num_rows + 1), dtype=object)


def _as_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return "|".join(_as_text(item) for item in value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)
