"""The posters that several runs have in common, in one order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.stats import Floats, Integers

if TYPE_CHECKING:
    import pandas

REQUIRED_COLUMNS = ("movie_id", "label", "probability")


def align_predictions(predictions: Mapping[str, pandas.DataFrame]) -> tuple[Integers, dict[str, Floats], int]:
    """Brings the predictions of several runs into one order of posters.

    Args:
        predictions: at least one run by name, each with movie_id (unique), label (0/1), probability.

    Returns: labels (N,) of the posters that all runs scored, by movie_id; probabilities (N,) per run; how
        many posters were left out because some run lacks them.

    Raises: EvaluationError for no runs, missing columns, a movie_id twice, no common poster,
        or a poster whose label differs between runs.
    """
    import pandas

    if not predictions:
        raise EvaluationError("no runs to bring together: name at least one")
    for name, table in predictions.items():
        lacking = [column for column in REQUIRED_COLUMNS if column not in table]
        if lacking:
            raise EvaluationError(
                f"the predictions of {name} lack {', '.join(lacking)}; evaluate the run again"
            )
        twice = table["movie_id"][table["movie_id"].duplicated()]
        if len(twice):
            raise EvaluationError(
                f"the predictions of {name} have {twice.iloc[0]} twice; evaluate the run again"
            )
    by_poster = {name: table.set_index("movie_id") for name, table in predictions.items()}
    # Sorted: nothing that is drawn by chance may depend on the order of a file.
    common = pandas.concat(by_poster, axis=1, join="inner").sort_index()
    if common.empty:
        raise EvaluationError(
            f"the runs {', '.join(predictions)} have no poster in common; "
            "compare runs evaluated on the same split of the same dataset"
        )
    first = next(iter(predictions))
    labels = common[(first, "label")].to_numpy()
    columns: dict[str, Floats] = {}
    for name in predictions:
        differing = common.index[common[(name, "label")] != labels]
        if len(differing):
            raise EvaluationError(
                f"{len(differing)} posters have other labels in {name} than in {first}, "
                f"first {differing[0]}; compare runs on the same dataset"
            )
        checked, columns[name] = check_predictions(labels, common[(name, "probability")].to_numpy(float))
    everything = set().union(*(table.index for table in by_poster.values()))
    return checked, columns, len(everything) - len(common)
