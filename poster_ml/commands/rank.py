"""`poster-ml rank`: designs in order, and how often such a difference came out right between movies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poster_ml.errors import DatasetError
from poster_ml.files import printable
from poster_ml.pipeline.poster_files import open_model
from poster_ml.serving.options import MOST_DESIGNS

CAVEAT = (
    "The shares compare posters of different movies (one decade, a shared genre, one Fresh and one Rotten), "
    "not designs of one movie: they say what such a difference has been worth, not what it causes."
)


@dataclass(frozen=True)
class RankResult:
    """Designs, the likeliest Fresh first, then those that could not be scored.

    designs: for each `poster, rank, probability_fresh, probability_combined, poster_effect, note, error`.
    pairs: for each two neighbours in that order `higher, lower, difference` (logit), `share, share_ci_low,
        share_ci_high, count, told_apart`, as of `Reference.rank`.
    """

    designs: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    caveat: str = CAVEAT

    def text(self) -> str:
        """Returns the table, a line per pair of neighbours, and what the numbers cannot say."""
        import pandas as pd

        table = pd.DataFrame(self.designs)
        notes = table.pop("note").dropna().unique()  # of year and genres, which all designs share
        shown = table.dropna(axis=1, how="all").to_string(
            index=False, float_format=lambda value: f"{value:.3f}", na_rep=""
        )
        return "\n".join([shown, *notes, "", *map(_sentence, self.pairs), "", self.caveat])


def run_rank(
    model_uri: str, posters: Sequence[Path], *, year: int | None = None, genres: str | None = None
) -> RankResult:
    """Puts 2 to 50 designs in order.

    Args:
        model_uri: as for `load_poster_model`.
        posters: image files.
        year: of the movie, 1880 to 2100; None where it is unknown.
        genres: of the movie, with `|` between them.

    Raises: DatasetError for too few or too many posters, or one that is not a file; RegistryError for
        the model.
    """
    if not 2 <= len(posters) <= MOST_DESIGNS:
        raise DatasetError(
            f"rank compares 2 to {MOST_DESIGNS} designs, received {len(posters)}: name so many"
        )
    missing = [printable(path) for path in posters if not path.is_file()]
    if missing:
        raise DatasetError(f"no file {missing[0]}: name image files")
    import pandas as pd

    from poster_ml.serving.load import load_poster_model

    model = open_model(model_uri, load_poster_model)
    names = _distinct([printable(path) for path in posters])
    table = pd.DataFrame(
        {"image": [path.read_bytes() for path in posters], "year": year, "genres": genres}, index=names
    )
    answer = model.unwrap_python_model().predict(None, table, {"rank": True})
    columns = ["rank", "probability_fresh", "probability_combined", "poster_effect", "note", "error"]
    ordered = answer.sort_values("rank", na_position="last", kind="stable")
    designs = ordered[columns].rename_axis("poster").reset_index().to_dict("records")
    scored = ordered[ordered["rank"].notna()]
    pairs = [
        {"higher": higher, "lower": lower, **_between(scored.loc[higher, "pairs"], lower)}
        for higher, lower in zip(scored.index[:-1], scored.index[1:], strict=True)
    ]
    return RankResult(designs, pairs)


def _distinct(names: list[str]) -> list[str]:
    """Returns the names with a number behind one that stands there before."""
    return [
        f"{name} ({names[:row].count(name) + 1})" if name in names[:row] else name
        for row, name in enumerate(names)
    ]


def _between(pairs: list[dict[str, Any]], other: str) -> dict[str, Any]:
    found = next(pair for pair in pairs if pair["other"] == other)
    return {key: value for key, value in found.items() if key != "other"}


def _sentence(pair: dict[str, Any]) -> str:
    head = f"{pair['higher']} over {pair['lower']}: {pair['difference']:+.2f} in logit"
    if pair["share"] is None:
        return f"{head}; fewer than 50 pairs of movies differ so much: nothing can be said"
    low, high = pair["share_ci_low"], pair["share_ci_high"]
    if not pair["told_apart"]:
        return f"{head}; cannot be told apart: between movies, a difference this small has meant nothing"
    return (
        f"{head}; of {pair['count']:,} pairs of movies that differ at least so much, the higher one was "
        f"the Fresh one in {pair['share']:.0%} ({low:.0%} to {high:.0%})"
    )
