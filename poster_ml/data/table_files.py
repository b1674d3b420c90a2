"""Table files as they come: CSV with any delimiter, TSV, Parquet, gzipped or not, in any usual encoding.

The content decides what a file is, not its name. Everything leaves as text; nothing is guessed to be a
number, so leading zeros stay.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poster_ml.errors import TableError

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_FIELD = 2**27  # characters; the csv module's own limit of 131,072 is met by real plot texts
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_ALPHABETS = ("cp1251", "koi8_r", "cp1253", "gb18030", "cp932", "euc_kr", "big5")
_SAMPLE = 2**16  # bytes that charset-normalizer is shown


@dataclass(frozen=True)
class RawTable:
    """A table as text.

    Args:
        frame: one column of `str` per column of the file; the index is the data row's number from 1.
        malformed: row number -> reason for the rows with more fields than the header, not in `frame`.
        short: row number -> reason for the rows with fewer fields, filled up in `frame`.
        encoding: how the text was read: a Python codec name, or "parquet".
    """

    frame: pd.DataFrame
    malformed: Mapping[int, str]
    short: Mapping[int, str]
    encoding: str


def read_raw(path: Path) -> RawTable:
    """Reads a table file.

    Args:
        path: CSV (delimiter `,`, `;`, `|` or tab), TSV or Parquet, each also gzipped.

    Raises: TableError where there is no such file, it is no table, or it has no rows.
    """
    content = _read_bytes(path)
    if content[:4] == b"PAR1":
        return RawTable(_parquet_frame(content, path), {}, {}, "parquet")
    text, encoding = _decode(content, path)
    header, *rows = _split_rows(text) or [[]]
    if not rows:
        raise TableError(f"{path}: no rows below the header; give a table with one row per movie")
    return _fit_to_header(_unique_names(header), rows, encoding, path)


def _fit_to_header(header: list[str], rows: list[list[str]], encoding: str, path: Path) -> RawTable:
    """Drops empty cells beyond the header, adds those that Excel leaves out at a row's end."""
    import pandas as pd

    width = len(header)
    fitting: dict[int, list[str]] = {}
    malformed: dict[int, str] = {}
    short: dict[int, str] = {}
    for number, row in enumerate(rows, start=1):
        reason = f"malformed row: {len(row)} fields where the header has {width}"
        if any(map(str.strip, row[width:])):
            malformed[number] = reason
            continue
        if len(row) < width:
            short[number] = reason
        fitting[number] = row[:width] + [""] * (width - len(row))
    if not fitting:
        raise TableError(
            f"{path}: no row fits the header: row 1 has {len(rows[0])} fields where the header has {width}; "
            "give every field a name in the header"
        )
    frame = pd.DataFrame(list(fitting.values()), columns=header, index=list(fitting), dtype=object)
    return RawTable(frame, malformed, short, encoding)


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
    """Turns bytes into text: byte-order mark, UTF-16 without one, UTF-8, another alphabet, cp1252."""
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
    with contextlib.suppress(UnicodeDecodeError):
        return content.decode("utf-8"), "utf-8"
    for encoding in (*_other_alphabet(content), "cp1252"):
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1"), "latin-1"  # takes every byte: the five that cp1252 leaves out


def _other_alphabet(content: bytes) -> list[str]:
    """Returns the likely encoding of Cyrillic, Greek, Chinese, Japanese or Korean text, [] for Western text.

    charset-normalizer is asked about these only: of nine short tables in cp1252 or Latin-1 with one accented
    title it read four wrongly ('Señor López' as cp1250). Western text is known by its accented letters, which
    stand alone; in the other encodings all letters of a word are beyond ASCII.
    """
    beyond_ascii = len(re.findall(rb"[\x80-\xff]", content))
    in_words = sum(map(len, re.findall(rb"[\x80-\xff]{3,}", content)))
    if 2 * in_words <= beyond_ascii:
        return []
    from charset_normalizer import from_bytes

    sample = b"\n".join(line for line in content.splitlines() if not line.isascii())[:_SAMPLE]
    best = from_bytes(sample, cp_isolation=list(_OTHER_ALPHABETS)).best()
    return [best.encoding] if best else []


def _split_rows(text: str) -> list[list[str]]:
    """Splits the text into its rows, the header first; lines without any text are no rows."""
    lines = list(io.StringIO(text.lstrip("\r\n"), newline="")) or [""]
    delimiter, above = _delimiter(lines)
    lines = lines[above:]
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        rows, lone_quotes = _read_rows(lines, delimiter)
    finally:
        csv.field_size_limit(limit)
    if lone_quotes and delimiter in "\t|" and '"' not in lines[0] and '""' not in text:
        # IMDb's tables are never quoted: then every line is a row, and every quote belongs to a title.
        unquoted = [_split_line(line, delimiter) for line in lines if line.strip()]
        if all(len(row) == len(unquoted[0]) for row in unquoted):
            return unquoted
    return [row for row in rows if len(row) > 1 or any(map(str.strip, row))]


def _delimiter(lines: Sequence[str]) -> tuple[str, int]:
    """Returns the delimiter and the number of lines above the header.

    Excel's `sep=;` tells it; else it is what splits the header into most fields, a comma where nothing does.
    csv.Sniffer is wrong on 4 of 16 tables of this kind: a letter twice, the comma inside ['Drama', 'Comedy'].
    """
    told = re.fullmatch(r'"?sep=([^\w\s"]|\t)"?[\r\n]*', lines[0], re.IGNORECASE)
    if told:
        return told[1], 1
    return max(",\t;|", key=lambda delimiter: len(next(csv.reader([lines[0]], delimiter=delimiter)))), 0


def _read_rows(lines: Sequence[str], delimiter: str) -> tuple[list[list[str]], bool]:
    """Reads CSV lines so that no lone quote can join rows unseen.

    A quoted field may hold line breaks. But where quotes are not as CSV wants them, or would put lines into a
    field that are rows themselves, one line is read alone, and reading begins anew with the next.

    Returns: the rows ([] for an empty line), and whether any line was read alone.
    """
    rows: list[list[str]] = []
    lone_quotes = False
    done = 0
    while done < len(lines):
        begin = done
        ahead = (lines[at] for at in range(begin, len(lines)))
        reader = csv.reader(ahead, delimiter=delimiter, strict=True, skipinitialspace=True)
        with contextlib.suppress(csv.Error):
            for row in reader:
                count = begin + reader.line_num - done
                parts = [_split_line(line, delimiter) for line in lines[done + 1 : done + count]]
                if parts and rows and _hides_rows(row, parts, len(rows[0]), f"{delimiter} " in lines[0]):
                    break
                rows.append(row)
                done += count
        if done < len(lines):
            lone_quotes = True
            rows.append(_read_alone(lines[done], delimiter, len(rows[0]) if rows else 0))
            done += 1
    return rows, lone_quotes


def _hides_rows(row: list[str], parts: list[list[str]], width: int, spaced: bool) -> bool:
    """Says whether a row of several lines has too many fields, or a line after the first that is a row.

    A text may have as many commas as a row, but there a space follows them: `spaced` says that it does so
    in the header too.
    """
    rows = [part for part in parts if len(part) == width]
    prose = [part for part in rows if any(field.startswith(" ") for field in part[1:])]
    return any(row[width:]) or (bool(rows) if spaced else len(rows) > len(prose))


def _read_alone(line: str, delimiter: str, width: int) -> list[str]:
    """Reads one line with quotes that are not as CSV wants them, into `width` fields where that can be.

    A space may stand behind a quoted field. In `"The "Best" Man",1999` the inner quotes are doubled. Else
    quotes are letters like others.
    """
    plain = _split_line(line, delimiter)
    if delimiter == "\t" and len(plain) == width:
        return plain
    edge = rf"{re.escape(delimiter)}\r\n"
    tidy = re.sub(rf'" +(?=[{edge}]|$)', '"', line)
    doubled = re.sub(rf'(?<=[^{edge}"])"(?=[^{edge}"]|"(?:[{edge}]|$))', '""', tidy)
    for mended in (tidy, doubled):
        with contextlib.suppress(csv.Error):
            quoted = next(csv.reader([mended], delimiter=delimiter, strict=True, skipinitialspace=True))
            if len(quoted) == width or len(plain) != width:
                return quoted
    return plain


def _split_line(line: str, delimiter: str) -> list[str]:
    return line.rstrip("\r\n").split(delimiter)


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
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)
