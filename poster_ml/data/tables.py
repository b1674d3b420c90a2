"""A table of movies in any dialect to our columns, and every row that cannot be used with the reason.

What a table may look like stands in `dialects` (columns), `table_files` (files) and `table_fields` (cells).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from poster_ml.data import table_fields as fields
from poster_ml.data.dialects import ROLES, Layout, resolve, shorten
from poster_ml.data.table_files import read_raw
from poster_ml.errors import TableError


@dataclass(frozen=True)
class MovieTable:
    """Movies that can be used, and the rows that cannot.

    Args:
        movies: one row per movie, in the file's order: `movie_id` (str, unique, fit for a file name),
            `title` (str), `year` (Int64, may be missing), `genres` (str, `|` between), `label` (int, 1 Fresh,
            0 Rotten), `tomatometer_rating` (float percent, may be NaN), `link` (str such as "m_13123" or ""),
            `image_url` (str or ""), `image_name` (file name given by the table, or ""), `row` (int from 1),
            `source_id` (str, the id as the table spells it).
        rejected: `row` (int), `movie_id` (str as the table spells it, "" where unknown), `reason` (str).
        layout: the dialect's name ("other" where it is none), role -> column, and the label rule.
        encoding: how the file was read.
        notes: columns with cells that could not be read though their rows were kept, a sentence each.
    """

    movies: pd.DataFrame
    rejected: pd.DataFrame
    layout: Layout
    encoding: str
    notes: tuple[str, ...] = ()

    def source(self) -> dict[str, Any]:
        """Returns how the table was read, for the manifest of a dataset."""
        return {
            "dialect": self.layout.dialect,
            "label_rule": self.layout.label_rule,
            "columns": dict(self.layout.columns),
            "encoding": self.encoding,
        }


def read_table(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    dialect: str | None = None,
    score_threshold: float | None = None,
    require: tuple[str, ...] = (),
) -> MovieTable:
    """Reads a table of movies.

    Args:
        path: CSV, TSV or Parquet, also gzipped, in UTF-8, UTF-16, cp1252 or Latin-1.
        columns: role -> column for what the dialect does not tell, for example {"label": "status"}.
        dialect: a name of `dialects.DIALECTS`; None: recognised by the columns.
        score_threshold: Fresh from this score on, instead of the status column or the dialect's threshold.
        require: more roles that must have a column, for example ("image_url",).

    Raises: TableError, in one line: no such file, no table, a column that is missing (with the columns found
        and the option that names it), or no row with a usable label (with the values found).
    """
    frame, malformed, encoding = read_raw(path)
    layout = resolve(list(frame.columns), str(path), columns or {}, dialect, score_threshold, require)
    movies = _movies(frame, layout, path)
    reasons = _reasons(movies, frame, malformed, layout, path)
    rejected = movies.assign(reason=reasons).loc[reasons != "", ["row", "source_id", "reason"]]
    rejected = rejected.set_axis(["row", "movie_id", "reason"], axis=1).reset_index(drop=True)
    kept = movies[reasons == ""].astype({"label": "int64"}).reset_index(drop=True)
    return MovieTable(kept, rejected, layout, encoding, tuple(_notes(kept, frame, layout)))


def _movies(frame: pd.DataFrame, layout: Layout, path: Path) -> pd.DataFrame:
    """Builds our columns for every row; `label` is still missing where it cannot be read."""
    cells = pd.DataFrame("", index=frame.index, columns=list(ROLES), dtype=object)
    for role, column in layout.columns.items():
        # A film may be called "None" or "?".
        cells[role] = frame[column] if role == "title" else fields.clean(frame[column])

    def numbers(role: str, low: float, high: float) -> pd.Series:
        source = f"{path}: column {layout.columns.get(role)!r}"
        return fields.numbers(cells[role], low, high, source)

    title = cells["title"].str.replace(r"\s+", " ", regex=True).str.strip()
    if "year" in layout.columns:
        year = fields.years(cells["year"])
    else:
        title, year = fields.split_title(title)
    if layout.score_threshold is None:
        label = fields.labels(cells["label"])
    else:
        score = numbers("score", -1e9, 1e9)
        label = (score >= layout.score_threshold).astype("Int64").mask(score.isna())
    link = cells["link"].map(fields.link_name)
    titles = pd.Series(list(map(fields.title_id, title, year)), index=frame.index, dtype=object)
    movie_id = ids = fields.unique_names(cells["movie_id"])
    for other in (cells["imdb_id"].map(fields.imdb_id), link, titles):
        ids = ids.where(ids != "", other)
    return pd.DataFrame(
        {
            "movie_id": ids,
            "title": title,
            "year": year,
            "genres": fields.genres(cells["genres"]),
            "label": label,
            "tomatometer_rating": numbers("tomatometer_rating", 0.0, 100.0),
            "link": link,
            "image_url": cells["image_url"],
            "image_name": cells["image_file"],
            "row": frame.index.astype("int64"),
            "source_id": cells["movie_id"].where(movie_id != "", ids),
        }
    )


def _reasons(
    movies: pd.DataFrame, frame: pd.DataFrame, malformed: dict[int, str], layout: Layout, path: Path
) -> pd.Series:
    """Says per row why it cannot be used; "" where it can."""
    by_score = layout.score_threshold is not None
    role, allowed = ("score", "a number") if by_score else ("label", fields.ALLOWED_LABELS)
    column = layout.columns[role]
    cells = frame[column].str.strip()
    unusable = movies["label"].isna()
    filled = fields.clean(cells) != ""
    if unusable.all() or (by_score and 2 * (filled & unusable).sum() > filled.sum()):
        raise TableError(
            f"{path}: {(~unusable).sum()} of {len(cells)} rows have a usable label in column {column!r}: "
            f"found {shorten(cells[unusable].unique(), limit=8)}; allowed is {allowed}; "
            f"name another column with --column {role}=NAME"
        )
    reasons = pd.Series("", index=movies.index, dtype=object)
    reasons = reasons.mask(unusable, f"no {role}: {column} is '" + cells.str.slice(0, 60) + "'")
    reasons = reasons.mask(movies["movie_id"] == "", "no id: no link or title to tell the movie by either")
    short = pd.Series(malformed, dtype=object).reindex(movies.index)
    reasons = reasons.mask(unusable & short.notna(), short)
    usable = movies[reasons == ""]
    first = usable.groupby("movie_id")[["row", "label"]].transform("first")
    repeated = "repeated movie_id: already in row " + first["row"].astype(str)
    repeated = repeated.mask(first["label"] != usable["label"], repeated + ", with the other label")
    return reasons.mask(movies.index.isin(usable.index[usable.duplicated("movie_id")]), repeated)


def _notes(kept: pd.DataFrame, frame: pd.DataFrame, layout: Layout) -> Iterator[str]:
    """Says which years and ratings of the movies are empty though the table has something there."""
    for role in ("year", "tomatometer_rating"):
        if role in layout.columns:
            column = layout.columns[role]
            cells = fields.clean(frame.loc[kept["row"], column]).reset_index(drop=True)
            unread = cells[kept[role].isna() & (cells != "")]
            if len(unread):
                yield (
                    f"{len(unread)} of {len(kept)} movies have no {role} that can be read in column "
                    f"{column!r}, for example {unread.iloc[0][:40]!r}"
                )
