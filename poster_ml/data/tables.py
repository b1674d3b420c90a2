"""A table of movies in any dialect to our columns, and every row that cannot be used with the reason.

What a table may look like stands in `dialects` (columns), `table_files` (files) and `table_fields` (cells).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poster_ml.data import table_fields as fields
from poster_ml.data.dialects import Layout, require_role, resolve, shorten
from poster_ml.data.table_files import RawTable, read_raw
from poster_ml.errors import TableError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "movie_id",
    "title",
    "year",
    "genres",
    "label",
    "tomatometer_rating",
    "link",
    "image_url",
    "image_name",
    "row",
    "source_id",
)


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
        layout: the dialect's name, role -> column, and the label rule.
        encoding: how the file was read.
        notes: columns with cells that could not be read though their rows were kept, a sentence each.
    """

    movies: pd.DataFrame
    rejected: pd.DataFrame
    layout: Layout
    encoding: str
    notes: tuple[str, ...] = ()

    @property
    def dialect(self) -> str:
        """The dialect's name; "other" for a table of none of them."""
        return self.layout.dialect


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
    raw = read_raw(path)
    header = [str(name) for name in raw.frame.columns]
    layout = resolve(header, str(path), columns or {}, dialect, score_threshold)
    for role in require:
        require_role(layout, role, header, str(path))
    movies = _movies(raw.frame, layout, path)
    reasons = _reasons(movies, raw, layout, path)
    rejected = _rejected(movies, reasons, raw)
    kept = movies[reasons == ""].astype({"label": "int64"}).reset_index(drop=True)
    notes = tuple(_notes(kept, raw.frame, layout))
    return MovieTable(kept.loc[:, list(COLUMNS)], rejected, layout, raw.encoding, notes)


def _notes(kept: pd.DataFrame, frame: pd.DataFrame, layout: Layout) -> Iterator[str]:
    """Says which years and ratings of the movies are empty though the table has something there."""
    for role in ("year", "tomatometer_rating"):
        if role in layout.columns:
            cells = fields.clean(frame.loc[kept["row"], layout.columns[role]])
            unread = cells[kept[role].isna().to_numpy() & (cells != "").to_numpy()]
            if len(unread):
                yield (
                    f"{len(unread)} of {len(kept)} movies have no {role} that can be read in column "
                    f"{layout.columns[role]!r}, for example {unread.iloc[0][:40]!r}"
                )


def _movies(frame: pd.DataFrame, layout: Layout, path: Path) -> pd.DataFrame:
    """Builds our columns for every row; `label` is still missing where it cannot be read."""
    import pandas as pd

    def numbers(role: str, low: float, high: float) -> pd.Series:
        try:
            return fields.numbers(cells(role), low, high)
        except ValueError as error:
            raise TableError(f"{path}: column {layout.columns[role]!r}: {error}") from None

    def cells(role: str) -> pd.Series:
        column = layout.columns.get(role)
        if column is None:
            return pd.Series("", index=frame.index, dtype=object)
        return frame[column] if role == "title" else fields.clean(frame[column])

    title = cells("title").str.replace(r"\s+", " ", regex=True).str.strip()
    if "year" in layout.columns:
        year = fields.years(cells("year"))
    else:
        title, year = fields.split_title(title)
    if layout.score_threshold is None:
        label = fields.labels(cells("label"))
    else:
        score = numbers("score", -1e9, 1e9)
        label = (score >= layout.score_threshold).astype("Int64").mask(score.isna())
    link = cells("link").map(fields.link_name)
    movie_id = ids = fields.unique_names(cells("movie_id"))
    titles = pd.Series(list(map(fields.title_id, title, year)), index=frame.index, dtype=object)
    for other in (cells("imdb_id").map(fields.imdb_id), link, titles):
        ids = ids.where(ids != "", other)
    return pd.DataFrame(
        {
            "movie_id": ids,
            "title": title,
            "year": year,
            "genres": fields.genres(cells("genres")),
            "label": label,
            "tomatometer_rating": numbers("tomatometer_rating", 0.0, 100.0),
            "link": link,
            "image_url": cells("image_url"),
            "image_name": cells("image_file"),
            "row": frame.index.astype("int64"),
            "source_id": cells("movie_id").where(movie_id != "", ids),
        },
        index=frame.index,
    )


def _reasons(movies: pd.DataFrame, raw: RawTable, layout: Layout, path: Path) -> pd.Series:
    """Says per row why it cannot be used; "" where it can."""
    import pandas as pd

    reasons = pd.Series("", index=movies.index, dtype=object)
    by_score = layout.score_threshold is not None
    role, allowed = ("score", "a number") if by_score else ("label", fields.ALLOWED_LABELS)
    column = layout.columns[role]
    unusable = movies["label"].isna()
    found = raw.frame.loc[unusable, column].str.strip()
    filled = int((fields.clean(raw.frame[column]) != "").sum())
    unreadable = int((fields.clean(found) != "").sum())
    if unusable.all() or (by_score and 2 * unreadable > filled):
        values = shorten(found.value_counts().index, limit=8) if len(found) else "none"
        few = "no row has" if unusable.all() else f"only {filled - unreadable} of {filled} rows have"
        raise TableError(
            f"{path}: {few} a usable label in column {column!r}: found {values}; allowed is {allowed}; "
            f"name another column with --column {role}=NAME"
        )
    reasons = reasons.mask(unusable, f"no {role}: {column} is '" + found.str.slice(0, 60) + "'")
    short = pd.Series(raw.short, dtype=object).reindex(reasons.index)
    reasons = reasons.mask(unusable & short.notna(), short)
    reasons = reasons.mask(movies["movie_id"] == "", "no id: no link or title to tell the movie by either")
    usable = movies[reasons == ""]
    first = usable.groupby("movie_id")[["row", "label"]].transform("first")
    repeated = "repeated movie_id: already in row " + first["row"].astype(str)
    repeated = repeated.mask(first["label"] != usable["label"], repeated + ", with the other label")
    return reasons.mask(movies.index.isin(usable.index[usable.duplicated("movie_id")]), repeated)


def _rejected(movies: pd.DataFrame, reasons: pd.Series, raw: RawTable) -> pd.DataFrame:
    import pandas as pd

    unusable = movies[["row", "source_id"]].assign(reason=reasons)[reasons != ""]
    malformed = [(row, "", reason) for row, reason in raw.malformed.items()]
    table = pd.DataFrame([*unusable.to_numpy(), *malformed], columns=["row", "movie_id", "reason"])
    return table.astype({"row": "int64"}).sort_values("row", kind="stable", ignore_index=True)
