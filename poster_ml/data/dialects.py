"""The tables in circulation: which column of each plays which role. One dialect, one entry.

A dialect is recognised by its columns (upper and lower case do not matter). How a cell is read depends on
the role only, never on the dialect (see `table_fields`), so a new dialect is one more entry here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from poster_ml.errors import TableError, nearest

#: What a column can be. The first of movie_id, imdb_id, link that a row has becomes its id; without any
#: of them the id is made from title and year.
ROLES = (
    "movie_id", "imdb_id", "link", "title", "year", "genres", "label", "score",
    "tomatometer_rating", "image_url", "image_file",
)  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """One kind of table.

    Args:
        recognised_by: the columns that give it away, in lower case; all must be there.
        columns: role -> column; a column that is not there leaves its role empty.
        score_threshold: labels come from the role `score`, Fresh from here on; None: from the role `label`.
    """

    recognised_by: Sequence[str]
    columns: Mapping[str, str]
    score_threshold: float | None = None


@dataclass(frozen=True)
class Layout:
    """What was found out about one table: its dialect's name and the columns that are really there."""

    dialect: str
    columns: Mapping[str, str]  # role -> column as the table spells it
    score_threshold: float | None = None

    @property
    def label_rule(self) -> str:
        """Says where the labels come from, for example "tomatometer_status" or "IMDB Score >= 6.6"."""
        if self.score_threshold is None:
            return self.columns["label"]
        return f"{self.columns['score']} >= {self.score_threshold:g}"


_STATUS = {
    "genres": "genres", "label": "tomatometer_status", "tomatometer_rating": "tomatometer_rating",
}  # fmt: skip
DIALECTS: Mapping[str, Dialect] = {
    # Our own, as written by `poster-ml synth`.
    "poster_ml": Dialect(
        ("movie_id", "tomatometer_status"),
        _STATUS | {role: role for role in ("movie_id", "title", "year", "image_url", "image_file")},
    ),
    # Rotten Tomatoes movies of 2020 and the study's table.
    "rotten_tomatoes_link": Dialect(
        ("rotten_tomatoes_link", "tomatometer_status"),
        _STATUS | {
            "link": "rotten_tomatoes_link", "title": "movie_title", "year": "original_release_date",
            "image_url": "poster_image_url",
        },
    ),
    # A Rotten Tomatoes scrape with long texts and poster addresses.
    "movie_link": Dialect(
        ("movie_link", "movie_name", "tomatometer_status"),
        _STATUS | {
            "link": "movie_link", "title": "movie_name", "year": "in_theaters_date",
            "genres": "genre", "image_url": "poster_image",
        },
    ),
    # Rotten Tomatoes movies of 2019, without any id.
    "title_and_date": Dialect(
        ("movie_title", "in_theaters_date", "tomatometer_status"),
        _STATUS | {"title": "movie_title", "year": "in_theaters_date", "genres": "genre"},
    ),
    # A Rotten Tomatoes scrape of 2024: scores, no status.
    "critic_score": Dialect(
        ("movieid", "critic_score"),
        {
            "movie_id": "movieId", "link": "movieURL", "title": "movieTitle", "year": "movieYear",
            "score": "critic_score", "tomatometer_rating": "critic_score",
        },
        # Rotten Tomatoes' own rule; it repeats `critic_sentiment` in all 9,738 scored rows of the real table.
        score_threshold=60.0,
    ),
    # IMDb posters and genres, often in Latin-1: scores, no status.
    "imdb_genre": Dialect(
        ("imdbid", "imdb score"),
        {
            "imdb_id": "imdbId", "title": "Title", "genres": "Genre", "score": "IMDB Score",
            "image_url": "Poster",
        },
        # Of all thresholds, 6.6 agrees best with the Tomatometer status: 83.4 % of the 6,301 movies
        # of our development data that have both (6.5: 83.0 %, 7: 79.1 %).
        score_threshold=6.6,
    ),
}  # fmt: skip


def parse_column_options(options: Sequence[str]) -> dict[str, str]:
    """Reads `--column role=name` options.

    Returns: role -> column name.
    Raises: TableError for a text without "=" or with an unknown role, with all roles.
    """
    columns = {}
    for option in options:
        role, _, column = (part.strip() for part in option.partition("="))
        if role not in ROLES or not column:
            raise TableError(
                f"--column {option!r}{nearest(role, ROLES)}: expected role=name, for example "
                f"--column label=status; roles: {', '.join(ROLES)}"
            )
        columns[role] = column
    return columns


def resolve(
    header: Sequence[str],
    source: str,
    columns: Mapping[str, str],
    dialect: str | None = None,
    score_threshold: float | None = None,
    require: Sequence[str] = (),
) -> Layout:
    """Finds out which column plays which role.

    Args:
        header: the table's column names.
        source: the table's name, for messages.
        columns: role -> column, given by the user; wins over the dialect's own.
        dialect: a name of DIALECTS; None: recognise it by the columns.
        score_threshold: label by the role `score` (or else `tomatometer_rating`), Fresh from here on.
        require: more roles that must have a column.

    Returns: the layout, which always has labels and something to tell movies apart.
    Raises: TableError for unknown columns and dialects, and where a needed role has no column.
    """
    spelled = {name.strip().casefold(): name for name in reversed(header)}  # the first of two wins
    if dialect and dialect not in DIALECTS:
        raise TableError(
            f"unknown dialect {dialect!r}{nearest(dialect, DIALECTS)}; choose one of {', '.join(DIALECTS)}"
        )
    name = dialect or _recognise(spelled)
    found = _known_columns(name, spelled)
    for role, column in columns.items():
        if column.casefold() not in spelled:
            raise TableError(
                f"{source}: --column {role}={column}: no column {column!r}{nearest(column, header)}; "
                f"its columns are {shorten(header)}"
            )
        found[role] = spelled[column.casefold()]
    threshold = score_threshold
    if threshold is None and name in DIALECTS and "label" not in columns:
        threshold = DIALECTS[name].score_threshold
    if threshold is not None and "tomatometer_rating" in found:
        found.setdefault("score", found["tomatometer_rating"])
    needed = ["label" if threshold is None else "score", *require]
    if not {"movie_id", "imdb_id", "link", "title"} & found.keys():
        needed.append("movie_id")
    for role in needed:
        if role not in found:
            looked_for = {entry.columns[role]: None for entry in DIALECTS.values() if role in entry.columns}
            or_score = (
                ", or a score's with --column score=NAME and --score-threshold" if role == "label" else ""
            )
            raise TableError(
                f"{source}: no column for the {role} (looked for {', '.join(looked_for)}); its columns are "
                f"{shorten(header)}; name the right one with --column {role}=NAME{or_score}"
            )
    return Layout(name, found, threshold)


def _recognise(spelled: Mapping[str, str]) -> str:
    """Returns the dialect whose telling columns are there; the one with most of its columns wins."""
    fitting = [name for name, entry in DIALECTS.items() if spelled.keys() >= set(entry.recognised_by)]
    return max(fitting, key=lambda name: len(_known_columns(name, spelled)), default="other")


def _known_columns(name: str, spelled: Mapping[str, str]) -> dict[str, str]:
    """Returns the columns that a dialect knows; for a table of none, what any dialect knows."""
    entries = [DIALECTS[name]] if name in DIALECTS else DIALECTS.values()
    plain = {role: role for role in ("title", "year", "genres")}  # they say themselves what they are
    found: dict[str, str] = {}
    for columns in (*(entry.columns for entry in entries), plain):
        for role, column in columns.items():
            if column.casefold() in spelled:
                found.setdefault(role, spelled[column.casefold()])
    return found


def shorten(names: Iterable[str], limit: int = 20) -> str:
    """Joins names for a message; long names and long lists are cut."""
    texts = [name if len(name) <= 40 else name[:37] + "..." for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(repr(text) for text in texts[:limit]) + more
