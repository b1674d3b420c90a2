"""What is known of a movie beside its poster: years and genres as numbers, and the groups that they make."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poster_ml.evaluation.stats import Floats

UNKNOWN = "unknown"
# Width over height of a one-sheet is 27 / 40 = .675; scans of it vary by about 5 %.
ASPECT_EDGES = (0.64, 0.71)
ASPECT_NAMES = ("narrow (below .64)", "one-sheet (.64 to .71)", "wide (above .71)")
BRIGHTNESS_NAMES = ("darkest quarter", "dark quarter", "bright quarter", "brightest quarter")
ORDER = ("train", "val", "test", *BRIGHTNESS_NAMES, UNKNOWN)  # all other groups stand by name, before these


def years(table: pd.DataFrame) -> Floats:
    """Returns the years (N,); NaN where they are missing, unreadable or not above 0."""
    if "year" not in table:
        return np.full(len(table), np.nan)
    numbers = pd.to_numeric(table["year"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(numbers > 0, numbers, np.nan)


def genre_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a column of 0 and 1 per genre, by name; `genres` has `|` between them and may be missing."""
    if "genres" not in table:
        return pd.DataFrame(index=table.index)
    texts = table["genres"].astype(object).fillna("").astype(str)
    listed = texts.str.replace(r"\s*\|\s*", "|", regex=True).str.strip()
    return listed.str.get_dummies("|").drop(columns="", errors="ignore")


def members(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Says which posters are in which group.

    Args:
        table: with the columns that `by` needs; without them every poster is in the group "unknown".
        by: "split", "year", "decade", "genre" (a poster is in each of its genres), "aspect" (of the
            source's width and height) or "brightness" (quartiles).

    Returns: `row`, a position in the table, and `value`, the name of its group, a categorical in order.
    """
    if by == "genre":
        columns = genre_columns(table)
        columns = columns.assign(**{UNKNOWN: columns.sum(axis=1) == 0})
        rows, found = np.nonzero(columns.to_numpy(dtype=bool))
        values = columns.columns.to_numpy()[found]
    else:
        rows, values = np.arange(len(table)), np.array(_names(table, by), dtype=object)
    names = sorted(set(values), key=lambda name: (ORDER.index(name) + 1 if name in ORDER else 0, name))
    return pd.DataFrame({"row": rows, "value": pd.Categorical(values, names)})


def _names(table: pd.DataFrame, by: str) -> list[str]:
    """Returns the name of every poster's one group."""
    if by == "split":
        return table["split"].astype(str).tolist()
    if by in ("year", "decade"):
        step, ending = (10, "s") if by == "decade" else (1, "")
        return [UNKNOWN if np.isnan(year) else f"{year // step * step:.0f}{ending}" for year in years(table)]
    columns = ["width", "height", "brightness"]
    numbers = table.reindex(columns=columns).to_numpy(np.float64, na_value=np.nan)
    values, edges, names = numbers[:, 0] / numbers[:, 1], np.array(ASPECT_EDGES), np.array(ASPECT_NAMES)
    if by == "brightness":
        values, names = numbers[:, 2], np.array(BRIGHTNESS_NAMES)
        known = values[np.isfinite(values)]
        if len(np.unique(known)) < len(names):
            return [UNKNOWN] * len(table)
        edges = np.quantile(known, [0.25, 0.5, 0.75])
    found = names[np.searchsorted(edges, values, side="right").clip(max=len(names) - 1)]
    return np.where(np.isfinite(values), found, UNKNOWN).tolist()
