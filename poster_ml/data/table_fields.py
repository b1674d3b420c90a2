"""Cells of a table to our values: labels, years, genres, ids. One function per role, any dialect."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import unicodedata
from typing import Any

import pandas as pd

from poster_ml.errors import TableError

#: Cells that mean "nothing here".
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nil", "<na>", "\\n", "-", "?"})

#: What a status may say, after lower case and with one space for `-` and `_`.
LABELS = {"rotten": 0, "fresh": 1, "certified fresh": 1}
ALLOWED_LABELS = "Rotten, Fresh, Certified Fresh or Certified-Fresh (upper and lower case alike)"

_YEAR = r"(18[7-9]\d|19\d\d|20\d\d)"
# Alone, in any date, or at the beginning of 19901122.
_YEAR_IN_DATE = rf"(?<!\d){_YEAR}(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))?(?!\d)"
_YEAR_IN_TITLE = rf"\s*\({_YEAR}(?:[-–]\d{{0,4}})?\)\s*$"
_LONGEST_ID = 100  # characters; ids become file names, of which file systems take 255 bytes


def clean(cells: pd.Series) -> pd.Series:
    """Strips white space, also inside (line breaks become one space), and empties cells that say NA."""
    stripped = cells.str.replace(r"\s+", " ", regex=True).str.strip()
    return stripped.mask(stripped.str.casefold().isin(MISSING), "")


def labels(cells: pd.Series) -> pd.Series:
    """Reads statuses.

    Returns: Int64, 1 for Fresh and Certified Fresh, 0 for Rotten, missing for everything else.
    """
    words = cells.str.casefold().str.replace(r"[\s_-]+", " ", regex=True).str.strip()
    return words.map(LABELS).astype("Int64")


def numbers(cells: pd.Series, low: float, high: float, source: str) -> pd.Series:
    """Reads numbers: 5.1, 5,1, 1,234.5, 1.234,5, 1 234, 83%; missing where there is none in [low, high].

    Which of point and comma is the decimal mark, the column tells: a cell such as 1,234 alone could be both.

    Args:
        cells, low, high: the column, and what its numbers must lie between.
        source: the column's name, for the message.

    Raises: TableError where the column does not tell how to read such a cell.
    """
    bare = cells.str.replace(r"[\s%'’]", "", regex=True)
    point, comma = _read_numbers(bare, ".", ","), _read_numbers(bare, ",", ".")
    unclear = point.notna() & comma.notna() & (point != comma)
    has_points = bool((point.notna() & comma.isna()).any())
    has_commas = bool((comma.notna() & point.isna()).any())
    if not (has_points or has_commas):
        unclear &= bare.str.contains(",")  # 7.125 is how programs write
    if has_points == has_commas and unclear.any():
        raise TableError(
            f"{source}: {bare[unclear].iloc[0]!r} may be thousands or a decimal, and the other cells do not "
            "say which; write numbers with a decimal point and nothing between thousands"
        )
    values = comma.fillna(point) if has_commas and not has_points else point.fillna(comma)
    return values.where(values.between(low, high))


def _read_numbers(cells: pd.Series, mark: str, thousands: str) -> pd.Series:
    """Reads numbers with this decimal mark or none, and between thousands this one or nothing."""
    whole = rf"[1-9]\d{{0,2}}(?:[{thousands}]\d{{3}})+|\d*"
    fitting = cells.where(cells.str.fullmatch(rf"[+-]?(?:{whole})(?:[{mark}]\d*)?(?:[eE][+-]?\d+)?"), "")
    plain = fitting.str.replace(thousands, "").str.replace(mark, ".")
    return pd.to_numeric(plain, errors="coerce").astype("float64")


def years(cells: pd.Series) -> pd.Series:
    """Finds the year in "1995", "1969-01-01", "19690101", "Apr 29, 1983", "Oct 4, 1902, Original" (Int64)."""
    return pd.to_numeric(cells.str.extract(_YEAR_IN_DATE, expand=False)).astype("Int64")


def split_title(cells: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Splits "Toy Story (1995)" into the title and the year (Int64, missing where there is none)."""
    found = pd.to_numeric(cells.str.extract(_YEAR_IN_TITLE, expand=False)).astype("Int64")
    return cells.str.replace(_YEAR_IN_TITLE, "", regex=True), found


def genres(cells: pd.Series) -> pd.Series:
    """Puts one `|` between genres that came with `|`, `,` or `;` or as a list in Python or JSON."""
    cells = cells.map(lambda text: _listed(text) if text[:1] in ("[", "{") else text)
    piped = cells.where(cells.str.contains("|", regex=False), cells.str.replace(r"[,;]", "|", regex=True))
    return piped.str.replace(r"\s*\|[\s|]*", "|", regex=True).str.strip("| ")


def _listed(text: str) -> str:
    """Reads `['Drama', 'Comedy']`, `[{"id": 18, "name": "Drama"}]` and NumPy's `['Drama' 'Comedy']`."""
    try:
        items = json.loads(text)
    except ValueError:
        try:
            items = ast.literal_eval(re.sub(r"""(['"])\s+(?=['"])""", r"\1, ", text))
        except (ValueError, SyntaxError):
            return text.strip("[]{}")
    items = items if isinstance(items, (list, tuple, set)) else [items]
    names = (item.get("name") if isinstance(item, dict) else item for item in items)
    return "|".join(str(name) for name in names if name)


def unique_names(ids: pd.Series) -> pd.Series:
    """Makes file names of a column of ids with `safe_name`; 17.0 in a column of whole numbers becomes 17.

    Ids that differ stay apart: where `a_b` is there already, `a#b` gets a hash behind it.
    """
    plain = ids.map(lambda text: unicodedata.normalize("NFC", text))
    if plain.str.fullmatch(r"(?:\d+(?:\.0)?)?").all():
        plain = plain.str.removesuffix(".0")
    names = plain.map(safe_name)
    clash = (names != "") & (plain != plain.groupby(names).transform("first"))
    return names.mask(clash, names + "_" + plain.map(_digest))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def safe_name(text: str) -> str:
    """Makes an id out of any text that can be a file name everywhere: letters, digits, `.`, `_` and `-`.

    `m/0814255` becomes `m_0814255`. What is too long is cut and ends with a hash, so it stays unique.
    """
    name = re.sub(r"[^\w.\-]+", "_", unicodedata.normalize("NFC", text)).strip("._")
    if len(name.encode()) <= _LONGEST_ID:
        return name
    return f"{name.encode()[: _LONGEST_ID - 13].decode(errors='ignore')}_{_digest(text)}"


def imdb_id(text: str) -> str:
    """Makes `tt0114709` of 0114709, 114709, tt0114709 or a link with it; "" where there is no number."""
    found = re.search(r"tt(\d+)", text) or re.fullmatch(r"(\d+)(?:\.0)?", text)
    return f"tt{found.group(1).lstrip('0').zfill(7)}" if found else ""


def link_name(text: str) -> str:
    """Makes `m_13123` of /m/13123, m/13123 or https://host/m/13123?x=1."""
    path = re.sub(r"^[^/]*//[^/]*|\?.*", "", text)
    return safe_name(path.strip("/ ").replace("/", "_"))


def title_id(title: str, year: Any) -> str:
    """Makes a stable id of title and year: "The Italian Job", 1969 gives `the_italian_job_1969`.

    Accents go, other alphabets stay, so that no two titles fall together.

    Args:
        title: any text; without a letter or digit the id is "".
        year: a whole number, or missing (None or pandas' NA).
    """
    plain = unicodedata.normalize("NFKD", title.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = re.sub(r"[^\w]+", "_", plain.replace("'", "").replace("’", "")).strip("_")
    return safe_name(f"{words}_{year}" if words and not pd.isna(year) else words)
