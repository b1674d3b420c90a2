"""The tables in circulation: which column of each plays which role. One dialect, one entry.

A dialect is recognised by its columns (upper and lower case do not matter). How a cell is read depends on
the role only, never on the dialect (see `table_fields`), so a new dialect is one more entry here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from poster_ml.errors import TableError, nearest

#: What a column can be. The first of movie_id, imdb_id, link that a row has becomes its id; without any
#: of them the id is made from title and year.
ROLES: Mapping[str, str] = {
    "movie_id": "any unique text",
    "imdb_id": "an IMDb number, tt number or link: 0114709 becomes tt0114709",
    "link": "a page of the movie: /m/13123 becomes m_13123",
    "title": "the movie's title; where there is no year column, 'Title (1995)' gives the year",
    "year": "a year or a date in any usual form",
    "genres": "genres between '|', ',' or ';'",
    "label": "Rotten, Fresh or Certified Fresh",
    "score": "a number; Fresh from --score-threshold on",
    "tomatometer_rating": "percent of positive reviews, 0 to 100",
    "image_url": "where the poster can be downloaded",
    "image_file": "the poster's file name",
}


@dataclass(frozen=True)
class Dialect:
    """One kind of table.

    Args:
        name: what `--dialect` calls it.
        about: where such tables come from, a few words.
        recognised_by: the columns that give it away; all must be there.
        roles: role (a key of ROLES) -> column; a column that is not there leaves its role empty.
        score_threshold: labels come from the role `score`, Fresh from here on; None: from the role `label`.
    """

    name: str
    about: str
    recognised_by: frozenset[str]
    roles: Mapping[str, str]
    score_threshold: float | None = None


@dataclass(frozen=True)
class Layout:
    """What was found out about one table: its dialect's name and the columns that are really there."""

    dialect: str
    columns: Mapping[str, str] = field(default_factory=dict)  # role -> column as the table spells it
    score_threshold: float | None = None

    @property
    def label_rule(self) -> str:
        """Says where the labels come from, for example "tomatometer_status" or "IMDB Score >= 6.6"."""
        if self.score_threshold is None:
            return self.columns.get("label", "")
        return f"{self.columns.get('score', '')} >= {self.score_threshold:g}"


_STATUS = {
    "genres": "genres",
    "label": "tomatometer_status",
    "tomatometer_rating": "tomatometer_rating",
}
DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        name="poster_ml",
        about="our own, as written by `poster-ml synth`",
        recognised_by=frozenset({"movie_id", "tomatometer_status"}),
        roles=_STATUS | {role: role for role in ("movie_id", "title", "year", "image_url", "image_file")},
    ),
    Dialect(
        name="rotten_tomatoes_link",
        about="Rotten Tomatoes movies of 2020 and the study's table",
        recognised_by=frozenset({"rotten_tomatoes_link", "tomatometer_status"}),
        roles=_STATUS
        | {
            "link": "rotten_tomatoes_link",
            "title": "movie_title",
            "year": "original_release_date",
            "image_url": "poster_image_url",
        },
    ),
    Dialect(
        name="movie_link",
        about="Rotten Tomatoes scrape with long texts and poster addresses",
        recognised_by=frozenset({"movie_link", "movie_name", "tomatometer_status"}),
        roles=_STATUS
        | {
            "link": "movie_link",
            "title": "movie_name",
            "year": "in_theaters_date",
            "genres": "genre",
            "image_url": "poster_image",
        },
    ),
    Dialect(
        name="title_and_date",
        about="Rotten Tomatoes movies of 2019, without any id",
        recognised_by=frozenset({"movie_title", "in_theaters_date", "tomatometer_status"}),
        roles=_STATUS | {"title": "movie_title", "year": "in_theaters_date", "genres": "genre"},
    ),
    Dialect(
        name="critic_score",
        about="Rotten Tomatoes scrape of 2024: scores, no status",
        recognised_by=frozenset({"movieid", "critic_score"}),
        roles={
            "movie_id": "movieId",
            "link": "movieURL",
            "title": "movieTitle",
            "year": "movieYear",
            "score": "critic_score",
            "tomatometer_rating": "critic_score",
        },
        # Rotten Tomatoes' own rule; it repeats `critic_sentiment` in all 9,738 scored rows of the real table.
        score_threshold=60.0,
    ),
    Dialect(
        name="imdb_genre",
        about="IMDb posters and genres, often in Latin-1: scores, no status",
        recognised_by=frozenset({"imdbid", "imdb score"}),
        roles={
            "imdb_id": "imdbId",
            "title": "Title",
            "genres": "Genre",
            "score": "IMDB Score",
            "image_url": "Poster",
        },
        # Of all thresholds, 6.6 agrees best with the Tomatometer status: 83.4 % of the 6,301 movies
        # of our development data that have both (6.5: 83.0 %, 7: 79.1 %).
        score_threshold=6.6,
    ),
)


def parse_column_options(options: Sequence[str]) -> dict[str, str]:
    """Reads `--column role=name` options.

    Returns: role -> column name.
    Raises: TableError for a text without "=" and for an unknown role, with all roles.
    """
    columns: dict[str, str] = {}
    for option in options:
        role, equals, column = option.partition("=")
        role, column = role.strip(), column.strip()
        if not (equals and role and column):
            raise TableError(
                f"--column {option!r}: expected role=name, for example --column label=status; "
                f"roles: {', '.join(ROLES)}"
            )
        _check_role(role)
        columns[role] = column
    return columns


def resolve(
    header: Sequence[str],
    source: str,
    columns: Mapping[str, str],
    dialect: str | None = None,
    score_threshold: float | None = None,
) -> Layout:
    """Finds out which column plays which role.

    Args:
        header: the table's column names.
        source: the table's name, for messages.
        columns: role -> column, given by the user; wins over the dialect's own.
        dialect: a name of DIALECTS; None: recognise it by the columns.
        score_threshold: label by the role `score` (or else `tomatometer_rating`), Fresh from here on.

    Returns: the layout, which always has labels and something to tell movies apart.
    Raises: TableError for unknown roles, columns and dialects, and where a needed role has no column.
    """
    spelled = {name.strip().casefold(): name for name in reversed(header)}  # the first of two wins
    found: dict[str, str] = {}
    chosen = _named(dialect) if dialect else _recognise(spelled)
    for entry in (
        (chosen,) if chosen else DIALECTS
    ):  # a table of no dialect: every column that some dialect knows
        for role, column in entry.roles.items():
            if column.casefold() in spelled:
                found.setdefault(role, spelled[column.casefold()])
    for role in ("title", "year", "genres"):  # columns that say themselves what they are
        if role in spelled:
            found.setdefault(role, spelled[role])
    found |= {role: _find_told(role, column, spelled, header, source) for role, column in columns.items()}
    threshold = score_threshold
    if threshold is None and chosen and "label" not in columns:
        threshold = chosen.score_threshold
    if threshold is not None and "tomatometer_rating" in found:
        found.setdefault("score", found["tomatometer_rating"])
    layout = Layout(chosen.name if chosen else "other", found, threshold)
    _check_complete(layout, header, source)
    return layout


def require_role(layout: Layout, role: str, header: Sequence[str], source: str) -> None:
    """Raises a TableError that tells how to name the column, where the table has none for the role."""
    if role in layout.columns:
        return
    known = [entry.roles[role] for entry in DIALECTS if role in entry.roles]
    near = next((hint for hint in (nearest(name, header) for name in [role, *known]) if hint), "")
    looked_for = f" (looked for {', '.join(dict.fromkeys(known))})" if known else ""
    raise TableError(
        f"{source}: no column for the {role}{looked_for}{near}; its columns are {shorten(header)}; "
        f"name the right one with --column {role}=NAME"
    )


def shorten(names: Iterable[str], limit: int = 20) -> str:
    """Joins names for a message; long names and long lists are cut."""
    texts = [name if len(name) <= 40 else name[:37] + "..." for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(repr(text) for text in texts[:limit]) + more


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise TableError(f"--column: unknown role {role!r}{nearest(role, ROLES)}; roles: {', '.join(ROLES)}")


def _find_told(role: str, column: str, spelled: Mapping[str, str], header: Sequence[str], source: str) -> str:
    _check_role(role)
    found = spelled.get(column.strip().casefold())
    if found is None:
        raise TableError(
            f"{source}: --column {role}={column}: no column {column!r}{nearest(column, header)}; "
            f"its columns are {shorten(header)}"
        )
    return found


def _named(name: str) -> Dialect:
    for entry in DIALECTS:
        if entry.name == name:
            return entry
    names = [entry.name for entry in DIALECTS]
    raise TableError(f"unknown dialect {name!r}{nearest(name, names)}; choose one of {', '.join(names)}")


def _recognise(spelled: Mapping[str, str]) -> Dialect | None:
    """Returns the dialect whose telling columns are all there; the one with most of its columns wins."""
    fitting = [entry for entry in DIALECTS if entry.recognised_by <= spelled.keys()]
    return max(
        fitting,
        key=lambda entry: sum(column.casefold() in spelled for column in entry.roles.values()),
        default=None,
    )


def _check_complete(layout: Layout, header: Sequence[str], source: str) -> None:
    if layout.score_threshold is not None:
        require_role(layout, "score", header, source)
    elif "label" not in layout.columns and "score" in layout.columns:
        raise TableError(
            f"{source}: no label column, only the score {layout.columns['score']!r}: "
            "say from which score on a movie is Fresh with --score-threshold, "
            "or name the label's column with --column label=NAME"
        )
    else:
        require_role(layout, "label", header, source)
    if not {"movie_id", "imdb_id", "link", "title"} & layout.columns.keys():
        require_role(layout, "movie_id", header, source)
