"""Table files as they come: CSV with any delimiter, TSV, Parquet, gzipped or not, in any usual encoding.

The content decides what a file is, not its name. Everything leaves as text; nothing is guessed to
be a number, so leading zeros stay.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from poster_ml.errors import TableError, one_line

# The csv module's own limit of 131,072 characters is met by real plot texts.
csv.field_size_limit(2**27)
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16: its mark begins with UTF-16's
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_ALPHABETS = ("cp1251", "koi8_r", "cp1253", "gb18030", "cp932", "euc_kr", "big5")
_SAMPLE = 2**16  # bytes that charset-normalizer is shown


def read_raw(path: Path) -> tuple[pd.DataFrame, dict[int, str], str]:
    """Reads a table file as text.

    Args:
        path: CSV (delimiter `,`, `;`, `|` or tab), TSV or Parquet, each also gzipped.

    Returns: one column of `str` per column of the file, whose index is the data row's number from
        1; row number -> reason for the rows with more fields than the header (empty there) and with
        fewer (filled up); and the encoding: a Python codec's name, or "parquet".
    Raises: TableError where there is no such file, it is no table, or it has no rows.
    """
    content = _read_bytes(path)
    if content[:4] == b"PAR1":
        rows, encoding = _parquet_rows(content, path), "parquet"
    else:
        text, encoding = _decode(content, path)
        rows = _split_rows(text)
    if len(rows) < 2:
        raise TableError(f"{path}: no rows below the header; give a table with one row per movie")
    header, *rows = rows
    width = len(header)
    malformed, fitted = {}, []
    for number, row in enumerate(rows, start=1):
        beyond = any(map(str.strip, row[width:]))  # programs end rows with empty cells
        if beyond or len(row) < width:
            malformed[number] = f"malformed row: {len(row)} fields where the header has {width}"
        fitted.append([""] * width if beyond else row[:width] + [""] * (width - len(row)))
    if len(malformed) == len(rows) and not any(map(any, fitted)):
        raise TableError(
            f"{path}: no row fits the header: row 1 has {len(rows[0])} fields where the header has {width}; "
            "give every field a name in the header"
        )
    header = [name.strip() for name in header]
    names = [f"{name} ({at})" if name in header[:at] else name for at, name in enumerate(header)]
    frame = pd.DataFrame(fitted, columns=names, index=range(1, len(fitted) + 1), dtype=object)
    return frame, malformed, encoding


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise TableError(f"no table at {path}; give an existing CSV, TSV or Parquet file") from error
    except (OSError, EOFError, zlib.error) as error:  # a gzip file cut short or broken too
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"cannot read {path}: {reason}; give a whole CSV, TSV or Parquet file") from error
    if not content.strip():
        raise TableError(f"{path} is empty; give a table with a header and one row per movie")
    return content


def _decode(content: bytes, path: Path) -> tuple[str, str]:
    """Turns bytes into text, in the first encoding that takes them all; returns its name too."""
    for encoding in _encodings(content, path):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding), encoding
    raise TableError(f"{path}: broken {encoding} text; fetch it again, or save the table as UTF-8")


def _encodings(content: bytes, path: Path) -> Iterator[str]:
    """Yields what the encoding may be: as marked, UTF-16, UTF-8, another alphabet, Western."""
    marked = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "")
    head = content[:4096]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if marked:
        yield marked
    # Latin text in UTF-16 has a zero in nearly every second byte, and only there.
    elif max(even, odd) > 0.4 * len(head) and min(even, odd) < 0.03 * len(head):
        yield "utf-16-le" if odd > even else "utf-16-be"
    elif even or odd or head[:4] == b"PK\x03\x04":
        raise TableError(
            f"{path} is not text (an Excel or other binary file?); save the table as CSV or Parquet"
        )
    else:
        yield "utf-8"
        yield from _other_alphabet(content)
        yield "cp1252"
        yield "latin-1"  # takes every byte: the five that cp1252 leaves out


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
    """Splits the text into its rows, the header first; lines without any text are not rows."""
    lines = list(io.StringIO(text.lstrip("\r\n"), newline="")) or [""]
    delimiter, above = _delimiter(lines)
    lines = lines[above:]
    rows, lone_quotes = _read_rows(lines, delimiter)
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
    lone_quotes, begin = False, 0
    while begin < len(lines):
        width = len(rows[0]) if rows else 0
        row, end = _read_record(lines, begin, delimiter, width)
        if row is None:
            lone_quotes = True
            row = _read_alone(lines[begin], delimiter, width)
        rows.append(row)
        begin = end
    return rows, lone_quotes


def _read_record(
    lines: Sequence[str], begin: int, delimiter: str, width: int
) -> tuple[list[str] | None, int]:
    """Reads one row as CSV wants it; returns it, and the number of the line after it.

    None in its place: the quotes are not as CSV wants them, or the row has several lines and too
    many fields, or one of them after the first is a row itself. A text may have as many commas as a
    row, but there a space follows them, unless it does so in the header too.
    """
    ahead = (lines[at] for at in range(begin, len(lines)))
    reader = csv.reader(ahead, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        row = next(reader)
    except csv.Error:
        return None, begin + 1
    end = begin + reader.line_num
    below = [_split_line(line, delimiter) for line in lines[begin + 1 : end]] if width else []
    rows = [part for part in below if len(part) == width]
    if f"{delimiter} " not in lines[0]:
        rows = [part for part in rows if not any(field.startswith(" ") for field in part[1:])]
    return (None, begin + 1) if rows or (below and any(row[width:])) else (row, end)


def _read_alone(line: str, delimiter: str, width: int) -> list[str]:
    """Reads one line with quotes that are not as CSV wants them, into `width` fields where that can be.

    A space may stand behind a quoted field. In `"The "Best" Man",1999` the inner quotes are
    doubled. Else quotes are letters like others.
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


def _parquet_rows(content: bytes, path: Path) -> list[list[str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        # Not to_pandas: it would turn whole numbers with gaps into 114709.0.
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise TableError(f"{path} is a broken Parquet file: {one_line(error, 1000)}") from error
    columns = [
        ["" if value is None or str(value) == "nan" else str(value) for value in column.to_pylist()]
        for column in table.columns
    ]
    return [list(map(str, table.column_names)), *map(list, zip(*columns, strict=True))]
