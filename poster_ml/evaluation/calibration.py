"""Calibration: do posters given 70 % turn out Fresh 70 % of the time, and how to fix it with one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.metrics import ECE_BINS, check_labels, check_predictions, ece_bins
from poster_ml.evaluation.stats import Floats, wilson_interval

if TYPE_CHECKING:
    import pandas

# Outside of these a temperature says "the logits carry nothing" or "the classes are separated".
TEMPERATURE_RANGE = (0.05, 100.0)


def logit(probabilities: npt.ArrayLike) -> Floats:
    """Returns log odds of probabilities, same shape; 0 and 1 are clipped to float64's epsilon (+-36)."""
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), epsilon, 1.0 - epsilon)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Finds the temperature that makes validation probabilities most likely.

    The calibrated probability is `expit(logit / temperature)`. The order of the posters, and with it
    ROC AUC and the decision at 0.5, stays. Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.

    Args:
        logits: (N,) of Fresh, finite.
        labels: (N,) 0 or 1, both present.

    Returns: a temperature in TEMPERATURE_RANGE; above 1 where the model was too sure.

    Raises: EvaluationError for logits that are not finite or labels of one class; ValueError for shapes.
    """
    from scipy.optimize import minimize_scalar

    truth = check_labels(labels)
    values = np.asarray(logits, dtype=np.float64)
    if values.shape != truth.shape:
        raise ValueError(f"{values.shape=} of the logits must equal {truth.shape=} of the labels")
    if not np.isfinite(values).all():
        raise EvaluationError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} logits are not finite; "
            "the model diverged: lower the learning rate"
        )
    signed = np.where(truth == 1, values, -values)

    def loss(inverse_logarithm: float) -> float:
        return float(np.logaddexp(0.0, -signed * np.exp(-inverse_logarithm)).mean())

    # Convex in 1 / temperature, so it has one minimum along the logarithm as well.
    bounds = (float(np.log(TEMPERATURE_RANGE[0])), float(np.log(TEMPERATURE_RANGE[1])))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def reliability_bins(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = ECE_BINS, confidence: float
) -> pandas.DataFrame:
    """Compares probability and share Fresh in bins of equal width; empty bins are left out.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) in [0, 1].
        bins: their number; the same edges as `metrics.ece_bins`.
        confidence: of each bin's Wilson interval, between 0 and 1.

    Returns: one row per bin, indexed by its number: mean_probability, count, and fresh with its ends.
    """
    import pandas

    truth, values = check_predictions(labels, probabilities)
    grouped = pandas.DataFrame({"probability": values, "label": truth}).groupby(ece_bins(values, bins))
    rows = {
        number: {
            "mean_probability": found["probability"].mean(),
            "count": len(found),
            **wilson_interval(int(found["label"].sum()), len(found), confidence).columns("fresh"),
        }
        for number, found in grouped
    }
    return pandas.DataFrame.from_dict(rows, orient="index")
