"""The optional columns of a request, `year` and `genres`: read kindly, and what cannot be used is said."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pandas as pd

EARLIEST, LATEST = 1880, 2100


def read_facts(
    years: Sequence[Any], genres: Sequence[Any], known: Collection[str]
) -> tuple[pd.DataFrame, list[str | None]]:
    """Reads what a request says of its movies.

    Args:
        years: one cell per row: a whole number from 1880 to 2100, also as text; None, NaN or "" is unknown.
        genres: one cell per row: names with `|` between them, or a list of names, in any case; None, NaN or
            "" is unknown.
        known: the genres that the model was fitted on; others are left out.

    Returns: `year` (float, NaN where unknown) and `genres` ("" where unknown), one row per movie; and for
        each movie what was left out and why, or None.
    """
    spelled = {name.casefold(): name for name in known}
    rows, notes = [], []
    for year_cell, genres_cell in zip(years, genres, strict=True):
        year, year_note = _year(year_cell)
        names, genres_note = _genres(genres_cell, spelled)
        rows.append((year, "|".join(names)))
        notes.append("; ".join(filter(None, (year_note, genres_note))) or None)
    return pd.DataFrame(rows, columns=["year", "genres"]), notes


def _unknown(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))


def _year(cell: Any) -> tuple[float, str]:
    if _unknown(cell):
        return math.nan, ""
    try:
        year = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        year = math.nan
    if year.is_integer() and EARLIEST <= year <= LATEST:
        return year, ""
    return math.nan, f"year {_short(cell)} was ignored: give a whole number from {EARLIEST} to {LATEST}"


def _genres(cell: Any, spelled: dict[str, str]) -> tuple[list[str], str]:
    if _unknown(cell):
        return [], ""
    parts: Iterable[Any] = cell.split("|") if isinstance(cell, str) else cell
    if not isinstance(cell, (str, list, tuple)) or not all(isinstance(part, str) for part in parts):
        return [], f"genres {_short(cell)} were ignored: give names with | between them"
    asked = [part.strip() for part in parts if part.strip()]
    strange = [name for name in asked if name.casefold() not in spelled]
    found = dict.fromkeys(spelled[name.casefold()] for name in asked if name.casefold() in spelled)
    if not strange:
        return list(found), ""
    names = ", ".join(_short(name) for name in strange[:5])
    return list(found), f"unknown genres were ignored: {names}; known: {', '.join(sorted(spelled.values()))}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
