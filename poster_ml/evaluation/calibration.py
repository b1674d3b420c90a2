"""Calibration: do posters given 70 % turn out Fresh 70 % of the time, and how to fix it with one number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.metrics import ECE_BINS, check_labels, check_predictions, ece_bins
from poster_ml.evaluation.stats import Floats, Interval, wilson_interval

# Outside of these a temperature says "the logits carry nothing" or "the classes are separated".
TEMPERATURE_RANGE = (0.05, 100.0)


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram: its edges, the mean probability, the share Fresh, and how many."""

    low: float
    high: float
    mean_probability: float
    fresh: Interval
    count: int


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
) -> list[ReliabilityBin]:
    """Compares probability and share Fresh in bins of equal width; empty bins are left out.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) in [0, 1].
        bins: at least 2; the same edges as `metrics.ece_bins`.
        confidence: of each bin's Wilson interval, between 0 and 1.
    """
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins=}")
    truth, values = check_predictions(labels, probabilities)
    members = ece_bins(values, bins)
    result = []
    for position in np.unique(members):
        inside = members == position
        result.append(
            ReliabilityBin(
                low=float(position / bins),
                high=float((position + 1) / bins),
                mean_probability=float(values[inside].mean()),
                fresh=wilson_interval(int(truth[inside].sum()), int(inside.sum()), confidence),
                count=int(inside.sum()),
            )
        )
    return result
