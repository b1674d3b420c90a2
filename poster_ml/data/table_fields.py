"""Cells of a table to our values: labels, years, genres, ids. One function per role, any dialect."""

from __future__ import annotations

import hashlib
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

_YEAR = r"(?<!\d)(18[7-9]\d|19\d\d|20\d\d)(?!\d)"
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
    """Reads numbers, with or without a percent sign; missing where there is none in [low, high]."""
    import pandas as pd

    values = pd.to_numeric(cells.str.removesuffix("%").str.strip(), errors="coerce").astype("float64")
    return values.where(values.between(low, high))


def years(cells: pd.Series) -> pd.Series:
    """Finds the year in "1995", "1969-01-01", "Apr 29, 1983" or "Oct 4, 1902, Original" (Int64)."""
    import pandas as pd

    return pd.to_numeric(cells.str.extract(_YEAR, expand=False)).astype("Int64")


def split_title(cells: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Splits "Toy Story (1995)" into the title and the year (Int64, missing where there is none)."""
    import pandas as pd

    found = pd.to_numeric(cells.str.extract(_YEAR_IN_TITLE, expand=False)).astype("Int64")
    return cells.str.replace(_YEAR_IN_TITLE, "", regex=True), found


def genres(cells: pd.Series) -> pd.Series:
    """Puts one `|` between genres, whether they came with `|`, `,` or `;` between them."""
    piped = cells.where(cells.str.contains("|", regex=False), cells.str.replace(r"[,;]", "|", regex=True))
    return piped.str.replace(r"\s*\|[\s|]*", "|", regex=True).str.strip("| ")


def safe_name(text: str) -> str:
    """Makes an id out of any text that can be a file name everywhere: letters, digits, `.`, `_` and `-`.

    `m/0814255` becomes `m_0814255`. What is too long is cut and ends with a hash, so it stays unique.
    """
    name = re.sub(r"[^\w.\-]+", "_", unicodedata.normalize("NFC", text)).strip("._")
    if len(name.encode()) <= _LONGEST_ID:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{name.encode()[: _LONGEST_ID - 13].decode(errors='ignore')}_{digest}"


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
