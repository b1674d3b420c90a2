"""The posters that several runs have in common, in one order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

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
    if not predictions:
        raise EvaluationError("no runs to bring together: name at least one")
    indexed: dict[str, pandas.DataFrame] = {}
    for name, table in predictions.items():
        lacking = [column for column in REQUIRED_COLUMNS if column not in table]
        if lacking:
            raise EvaluationError(
                f"the predictions of {name} lack {', '.join(lacking)}; evaluate the run again"
            )
        if table["movie_id"].duplicated().any():
            twice = table["movie_id"][table["movie_id"].duplicated()].iloc[0]
            raise EvaluationError(f"the predictions of {name} have {twice} twice; evaluate the run again")
        indexed[name] = table.set_index("movie_id")
    first = next(iter(indexed.values()))
    common = first.index
    for table in indexed.values():
        common = common[common.isin(table.index)]
    common = common.sort_values()  # the bootstrap must not depend on the order of a file
    if not len(common):
        raise EvaluationError(
            f"the runs {', '.join(predictions)} have no poster in common; "
            "compare runs evaluated on the same split of the same dataset"
        )
    labels = first.loc[common, "label"].to_numpy(np.int64)
    columns: dict[str, Floats] = {}
    for name, table in indexed.items():
        differing = table.loc[common, "label"].to_numpy(np.int64) != labels
        if differing.any():
            raise EvaluationError(
                f"{int(differing.sum())} posters have other labels in {name} than in {next(iter(indexed))}, "
                f"first {common[differing][0]}; compare runs on the same dataset"
            )
        labels, columns[name] = check_predictions(labels, table.loc[common, "probability"].to_numpy(float))
    union = set().union(*(set(table.index) for table in indexed.values()))
    return labels, columns, len(union) - len(common)
