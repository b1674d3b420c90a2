"""Where a model is good and where it is bad: metrics by decade, genre, shape and brightness of the poster.

With some thirty slices one or two look bad by chance alone. So each that is large enough is compared with all
other posters, and the p-values of all slices are one family, corrected by Holm's method.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from poster_ml.evaluation.metadata import UNKNOWN, members
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.stats import (
    NOT_MEASURED,
    Floats,
    auc_gap,
    delong_interval,
    holm,
    wilson_interval,
)

MOST_WORST = 3
MINIMUM_POSTERS = 20  # slices below this are listed, but not compared with the other posters
MINIMUM_PER_CLASS = 10  # nor are those with fewer Fresh or Rotten ones: their ROC AUC hangs on single posters
COLUMNS = ["slice", "value", "posters", "fresh_share", "accuracy", "accuracy_ci_low", "accuracy_ci_high"]
COLUMNS += ["majority_accuracy", "roc_auc", "roc_auc_ci_low", "roc_auc_ci_high", "p_holm", "worse"]


def compute_slices(
    posters: pd.DataFrame, probabilities: npt.ArrayLike, *, threshold: float | Floats, confidence: float
) -> pd.DataFrame:
    """Scores every group of posters that the columns allow.

    Args:
        posters: label; optional year (decades), genres (a poster counts in each of its genres),
            width and height of the source in pixels (aspect), brightness in any unit (quartiles).
        probabilities: (N,) of Fresh.
        threshold: predicted Fresh from here on; one for all, or (N,).
        confidence: between 0 and 1; accuracy has Wilson's interval, ROC AUC DeLong's.

    Returns: one row per slice: `slice` (its kind), `value`, `posters`, `fresh_share`, `accuracy`
        with its ends, `majority_accuracy`, `roc_auc` with its ends (NaN where the slice has one
        class only), `p_holm` (of no difference in ROC AUC to all other posters, corrected over all
        slices; NaN: not asked) and `worse`, whether its ROC AUC is significantly below. Posters
        without a value are in "unknown".

    Raises: EvaluationError as `metrics.check_predictions`.
    """
    labels, values = check_predictions(posters["label"].to_numpy(), probabilities)
    right = (values >= threshold) == labels
    rows = []
    for kind in ("decade", "genre", "aspect", "brightness"):
        found = members(posters, kind)
        if (found["value"] == UNKNOWN).all():
            continue
        for name, positions in found.groupby("value", observed=True)["row"]:
            inside = np.zeros(len(labels), np.bool_)
            inside[positions] = True
            count, share = len(positions), float(labels[inside].mean())
            both = 0.0 < share < 1.0
            auc = delong_interval(labels[inside], values[inside], confidence) if both else NOT_MEASURED
            fewest = min(np.bincount(labels[side], minlength=2).min() for side in (inside, ~inside))
            asked = name != UNKNOWN and count >= MINIMUM_POSTERS and fewest >= MINIMUM_PER_CLASS
            gap, p_value = auc_gap(labels, values, inside, confidence) if asked else (NOT_MEASURED, np.nan)
            rows.append(
                {
                    "slice": kind,
                    "value": str(name),
                    "posters": count,
                    "fresh_share": share,
                    **wilson_interval(int(right[inside].sum()), count, confidence).columns("accuracy"),
                    "majority_accuracy": max(share, 1.0 - share),
                    **auc.columns("roc_auc"),
                    "gap": gap.estimate,
                    "p": p_value,
                }
            )
    table = pd.DataFrame(rows, columns=[*COLUMNS[:-2], "gap", "p"])
    table["p_holm"] = holm(table["p"])
    table["worse"] = (table["gap"] < 0) & (table["p_holm"] < 1.0 - confidence)
    return table[COLUMNS]


def worst_slices(slices: pd.DataFrame, overall_auc: float) -> pd.DataFrame:
    """Names at most three slices whose ROC AUC is significantly below that of all other posters, or none.

    Args:
        slices: of `compute_slices`.
        overall_auc: of all posters.

    Returns: worst first, by how many half-widths of its own interval a slice lies below `overall_auc`: a
        slice is not the worst for being small, nor for being large and a hair below.
    """
    worse = slices[slices["worse"]]
    half = ((worse["roc_auc_ci_high"] - worse["roc_auc_ci_low"]) / 2.0).clip(lower=1e-9)
    order = ((overall_auc - worse["roc_auc"]) / half).sort_values(ascending=False, kind="stable")
    return worse.loc[order.index[:MOST_WORST]]
