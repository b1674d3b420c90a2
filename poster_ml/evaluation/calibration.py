"""Calibration: do posters given 70 % turn out Fresh 70 % of the time; and from where on one is called Fresh.

Temperature and threshold are chosen on validation, never on the posters reported.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize_scalar

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.metrics import check_labels, check_predictions, ece_bins
from poster_ml.evaluation.stats import Floats, wilson_interval

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

    Raises: EvaluationError for logits that are not finite or labels of one class.
    """
    truth = check_labels(labels)
    values = np.asarray(logits, dtype=np.float64)
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
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, confidence: float
) -> pd.DataFrame:
    """Compares probability and share Fresh in the bins of ECE (`metrics.ece_bins`), without empty ones.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) in [0, 1].
        confidence: of each bin's Wilson interval, between 0 and 1.

    Returns: one row per bin, indexed by its number: mean_probability, count, and fresh with its ends.
    """
    truth, values = check_predictions(labels, probabilities)
    grouped = pd.DataFrame({"probability": values, "label": truth}).groupby(ece_bins(values))
    rows = {
        number: {
            "mean_probability": found["probability"].mean(),
            "count": len(found),
            **wilson_interval(int(found["label"].sum()), len(found), confidence).columns("fresh"),
        }
        for number, found in grouped
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def choose_threshold(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    rule: str,
    *,
    cost_false_fresh: float = 1.0,
    cost_false_rotten: float = 1.0,
) -> float:
    """Chooses a decision threshold on validation predictions.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) of Fresh in [0, 1].
        rule: "half" is 0.5 whatever the predictions; "youden" maximises sensitivity +
            specificity - 1 (Youden 1950); "cost" minimises the summed cost of the errors made.
        cost_false_fresh: cost of calling a Rotten poster Fresh, > 0; rule "cost" only.
        cost_false_rotten: cost of calling a Fresh poster Rotten, > 0; rule "cost" only.

    Returns: a threshold in the open interval (0, 1), as `ServingSettings` takes it: half-way
        between two neighbouring probabilities, or between the outermost one and 0 or 1, so that new
        predictions near it fall on the nearer side; among equally good ones the one nearest to 0.5.
        A poster whose probability is exactly 0 or 1 stays Rotten or Fresh whatever the costs: no
        threshold in (0, 1) can change that.

    Raises: EvaluationError as `check_predictions`.
    """
    truth, values = check_predictions(labels, probabilities)
    if rule == "half":
        return 0.5
    distinct = np.unique(values)
    edges = np.r_[0.0, distinct, 1.0]
    candidates = (edges[:-1] + edges[1:]) / 2.0  # (U + 1,); at least one of them lies inside (0, 1)
    candidates = candidates[(candidates > 0.0) & (candidates < 1.0)]
    fresh, rotten = np.sort(values[truth == 1]), np.sort(values[truth == 0])
    false_rotten = np.searchsorted(fresh, candidates, side="left")
    false_fresh = len(rotten) - np.searchsorted(rotten, candidates, side="left")
    if rule == "youden":
        loss = false_rotten / len(fresh) + false_fresh / len(rotten)
    else:
        loss = cost_false_rotten * false_rotten + cost_false_fresh * false_fresh
    best = candidates[np.isclose(loss, loss.min(), rtol=0, atol=1e-12)]
    return float(best[np.argmin(np.abs(best - 0.5))])
