"""Cells of a table to our values: labels, years, genres, ids. One function per role, any dialect."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import pandas as pd

#: Cells that mean "nothing here".
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nil", "<na>", "\\n", "-", "?"})

#: What a status may say, after lower case and with one space for `-` and `_`.
LABELS = {"rotten": 0, "fresh": 1, "certified fresh": 1}
ALLOWED_LABELS = "Rotten, Fresh, Certified Fresh or Certified-Fresh (upper and lower case alike)"

# Alone, in any date, or at the beginning of 19901122.
_YEAR = r"(?<!\d)(18[7-9]\d|19\d\d|20\d\d)(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))?(?!\d)"
_NUMBER = r"[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?|[+-]?[.,]\d+"
_YEAR_IN_TITLE = r"\s*\((18[7-9]\d|19\d\d|20\d\d)(?:[-–]\d{0,4})?\)\s*$"
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


def numbers(cells: pd.Series, low: float, high: float) -> pd.Series:
    """Reads numbers: 5.1, 5,1, 1,234.5, 1.234,5, 1 234, 83%; missing where there is none in [low, high].

    Which of point and comma is the decimal mark, the column tells: a cell such as 1,234 alone could be both.

    Raises: ValueError, in one line, where the column does not tell how to read such a cell.
    """
    import pandas as pd

    bare = cells.str.replace(r"[\s%'’]", "", regex=True)
    bare = bare.where(bare.str.fullmatch(_NUMBER), "")
    marks = bare.map(_decimal_mark)
    known = sorted(set(marks) & {".", ","})
    unclear = bare[marks == "?"]
    if len(known) == 2 or not known:
        unclear = unclear if known else unclear[unclear.str.contains(",")]  # 7.125 is how programs write
        if len(unclear):
            raise ValueError(
                f"{unclear.iloc[0]!r} may be thousands or a decimal, and the other cells do not say which; "
                "write numbers with a decimal point and nothing between thousands"
            )
    marks = marks.where(marks.isin(known), known[0] if len(known) == 1 else ".")
    plain = [_with_point(number, mark) for number, mark in zip(bare, marks, strict=True)]
    values = pd.to_numeric(pd.Series(plain, index=cells.index), errors="coerce").astype("float64")
    return values.where(values.between(low, high))


def _decimal_mark(number: str) -> str:
    """Returns the decimal mark that a number shows: "" where it has none, "?" for 1,234 and 1.234."""
    marks = re.findall(r"[.,]", number)
    if not marks:
        return ""
    if marks.count(marks[-1]) > 1:  # 1,234,567
        return "." if marks[-1] == "," else ","
    return "?" if re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", number) else marks[-1]


def _with_point(number: str, mark: str) -> str:
    """Writes a number with a decimal point and without thousands; "" where those are not of three digits."""
    whole, point, fraction = number.partition(mark)
    thousands = "." if mark == "," else ","
    if thousands in number and not re.fullmatch(rf"[+-]?\d{{1,3}}(?:[{thousands}]\d{{3}})+", whole):
        return ""
    return whole.replace(thousands, "") + point.replace(mark, ".") + fraction


def years(cells: pd.Series) -> pd.Series:
    """Finds the year in "1995", "1969-01-01", "19690101", "Apr 29, 1983", "Oct 4, 1902, Original" (Int64)."""
    import pandas as pd

    return pd.to_numeric(cells.str.extract(_YEAR, expand=False)).astype("Int64")


def split_title(cells: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Splits "Toy Story (1995)" into the title and the year (Int64, missing where there is none)."""
    import pandas as pd

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
    return "|".join(str(item.get("name", "") if isinstance(item, dict) else item) for item in items)


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
    path = urlsplit(text).path if "//" in text else text.partition("?")[0]
    return safe_name(path.strip("/ ").replace("/", "_"))


def title_id(title: str, year: Any) -> str:
    """Makes a stable id of title and year: "The Italian Job", 1969 gives `the_italian_job_1969`.

    Accents go, other alphabets stay, so that no two titles fall together.

    Args:
        title: any text; without a letter or digit the id is "".
        year: a whole number, or missing (None or pandas' NA).
    """
    import pandas as pd

    plain = unicodedata.normalize("NFKD", title.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = re.sub(r"[^\w]+", "_", plain.replace("'", "").replace("’", "")).strip("_")
    return safe_name(f"{words}_{year}" if words and not pd.isna(year) else words)
