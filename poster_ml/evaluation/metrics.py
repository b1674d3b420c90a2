"""Metrics of a binary classifier with their intervals, for one set of predictions or for many resamples.

A resample is written as one whole-number weight per poster (how often it was drawn), so that every metric
of every resample is a matrix product or a cumulative sum over predictions that are sorted only once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.stats import (
    Floats,
    Integers,
    Interval,
    bootstrap_weights,
    delong_interval,
    ece_interval,
    percentile_interval,
    wilson_interval,
)

ECE_BINS = 15  # Guo et al. 2017 (arXiv:1706.04599) use 15 equal-width bins
METRIC_NAMES = (
    "accuracy",
    "roc_auc",
    "balanced_accuracy",
    "average_precision",
    "f1",
    "log_loss",
    "brier",
    "ece",
)


def check_labels(labels: npt.ArrayLike) -> Integers:
    """Returns labels as (N,) int64 after checking that they are 0 and 1 and that both occur.

    Raises: EvaluationError in one line.
    """
    raw = np.asarray(labels)
    if raw.size == 0:
        raise EvaluationError("there are no posters to evaluate; choose a split that has some")
    values = set(np.unique(raw).tolist())
    if not values <= {0, 1}:
        shown = ", ".join(map(str, sorted(values - {0, 1})[:3]))
        raise EvaluationError(f"labels must be 0 (Rotten) or 1 (Fresh), got {shown}; fix the label column")
    if len(values) < 2:
        raise EvaluationError(
            f"all {raw.size} labels are {int(raw[0])}: metrics need both classes; "
            "evaluate a split that has both"
        )
    return raw.astype(np.int64)


def check_predictions(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Integers, Floats]:
    """Returns labels (N,) int64 and probabilities (N,) float64 after checking both.

    Raises: EvaluationError where a label is not 0 or 1, only one class occurs, or a probability is
        no number in [0, 1]; ValueError where the shapes differ.
    """
    checked = check_labels(labels)
    values = np.asarray(probabilities, dtype=np.float64)
    if values.shape != checked.shape:
        raise ValueError(f"{values.shape=} of the probabilities must equal {checked.shape=} of the labels")
    missing = int(np.isnan(values).sum())
    if missing:
        raise EvaluationError(
            f"{missing} of {values.size} probabilities are NaN; the model diverged: lower the learning rate"
        )
    outside = values[(values < 0) | (values > 1)]
    if outside.size:
        raise EvaluationError(
            f"{outside.size} of {values.size} probabilities are outside [0, 1], first {outside[0]:g}; "
            "pass probabilities, not logits"
        )
    return checked, values


def weighted_scores(
    labels: Integers, probabilities: Floats, threshold: float, weights: Floats
) -> dict[str, Floats]:
    """Scores predictions under many weightings.

    Args:
        labels, probabilities: (N,) as of `check_predictions`.
        threshold: in [0, 1].
        weights: (R, N) >= 0; each row has weight in both classes.

    Returns: each of METRIC_NAMES (R,), equal to scikit-learn's to 1e-9, and `gaps` (R, 15): each calibration
        bin's share of posters times (share Fresh - mean probability), whose absolute values sum to ECE, the
        expected calibration error; the first bin has both edges, the others only the upper one.
    """
    order = np.argsort(probabilities, kind="stable")  # from low to high
    truth, values, ordered = labels[order], probabilities[order], weights[:, order]
    fresh = ordered * truth  # (R, N)
    total, fresh_total = ordered.sum(axis=1), fresh.sum(axis=1)
    rotten_total = total - fresh_total
    # At the threshold.
    called = np.searchsorted(values, threshold, side="left")  # first one called Fresh
    true_fresh = fresh[:, called:].sum(axis=1)
    false_fresh = ordered[:, called:].sum(axis=1) - true_fresh
    sensitivity, specificity = true_fresh / fresh_total, 1.0 - false_fresh / rotten_total
    # Ranking: posters of equal probability count as one group of U.
    starts = np.flatnonzero(np.r_[True, np.diff(values) > 0])
    tied_fresh = np.add.reduceat(fresh, starts, axis=1)  # (R, U)
    tied_all = np.add.reduceat(ordered, starts, axis=1)
    tied_rotten = tied_all - tied_fresh
    rotten_below = np.cumsum(tied_rotten, axis=1) - tied_rotten
    well_ordered = (tied_fresh * (rotten_below + 0.5 * tied_rotten)).sum(axis=1)
    found_fresh = np.cumsum(tied_fresh[:, ::-1], axis=1)  # with the threshold at each probability, from high
    called_fresh = np.cumsum(tied_all[:, ::-1], axis=1)
    precision = np.divide(found_fresh, called_fresh, out=np.zeros_like(found_fresh), where=called_fresh > 0)
    # Calibration.
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(values, epsilon, 1.0 - epsilon)
    losses = -np.where(truth == 1, np.log(clipped), np.log(1.0 - clipped))
    residuals = truth - values
    in_bins = np.zeros((len(values), ECE_BINS))
    in_bins[np.arange(len(values)), ece_bins(values)] = residuals
    gaps = ordered @ in_bins / total[:, None]
    return {
        "accuracy": (true_fresh + rotten_total - false_fresh) / total,
        "roc_auc": well_ordered / (fresh_total * rotten_total),
        "balanced_accuracy": (sensitivity + specificity) / 2.0,
        "average_precision": (tied_fresh[:, ::-1] * precision).sum(axis=1) / fresh_total,
        # 2 TP / (2 TP + FP + FN), and TP + FN is all Fresh: never divided by zero.
        "f1": 2.0 * true_fresh / (true_fresh + false_fresh + fresh_total),
        "log_loss": ordered @ losses / total,
        "brier": ordered @ residuals**2 / total,
        "ece": np.abs(gaps).sum(axis=1),
        "gaps": gaps,
    }


def metrics_with_intervals(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    threshold: float,
    repeats: int,
    confidence: float,
    seed: int,
    stratified: bool = True,
) -> dict[str, Interval]:
    """Scores predictions and says how sure each figure is.

    Accuracy has Wilson's interval, ROC AUC DeLong's, ECE that of `ece_interval`; all others have the
    percentiles of a bootstrap. Its resamples keep the split's numbers of Fresh and Rotten posters, so it
    speaks of posters of this class balance (`docs/evaluation.md` shows the coverage under both designs).
    Where no resample differs from the sample, as for a model that calls every poster the same, it says
    nothing: then the class balance is drawn too, and what follows from a share of exactly 0 or 1 is
    taken from Wilson's interval of that share.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) of Fresh in [0, 1].
        threshold: in [0, 1].
        repeats: bootstrap resamples, at least 1; 1000 give each end to about a fiftieth of the width.
        confidence: between 0 and 1, for example 0.95.
        seed: int >= 0; the same seed gives the same interval.
        stratified: see `bootstrap_weights`.

    Returns: one Interval for each of METRIC_NAMES.

    Raises: EvaluationError and ValueError as `check_predictions`.
    """
    truth, values = check_predictions(labels, probabilities)
    sample = weighted_scores(truth, values, threshold, np.ones((1, len(truth))))

    def resampled(stratified: bool) -> dict[str, Floats]:
        weightings = bootstrap_weights(truth, repeats, seed, stratified=stratified)
        chunks = [weighted_scores(truth, values, threshold, weights) for weights in weightings]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in sample}

    draws = resampled(stratified)
    named = [name for name in METRIC_NAMES if name not in ("accuracy", "roc_auc")]
    constant = [name for name in named if np.ptp(draws[name]) < 1e-12]
    if constant:
        plain = resampled(False)
        draws |= {name: plain[name] for name in constant}
        draws["gaps"] = plain["gaps"] if "ece" in constant else draws["gaps"]
    result = {name: percentile_interval(float(sample[name][0]), draws[name], confidence) for name in named}
    right = int(((values >= threshold) == truth).sum())
    result["accuracy"] = wilson_interval(right, len(truth), confidence)
    result["roc_auc"] = delong_interval(truth, values, confidence)
    result["ece"] = ece_interval(sample["gaps"][0], draws["gaps"], confidence)
    for name, (low, high) in _ends_from_rates(truth, values >= threshold, confidence).items():
        if name in constant:
            result[name] = Interval(result[name].estimate, low, high)
    if "average_precision" in constant and result["roc_auc"].estimate == 1.0:
        result["average_precision"] = Interval(1.0, result["roc_auc"].low, 1.0)
    return {name: result[name] for name in METRIC_NAMES}


def _ends_from_rates(
    truth: Integers, called_fresh: npt.NDArray[np.bool_], confidence: float
) -> dict[str, tuple[float, float]]:
    """Returns the ends of balanced accuracy and F1 at both ends of the rates that they are made of."""
    fresh = float(truth.mean())
    right = called_fresh == truth
    rates = [
        wilson_interval(int(right[truth == value].sum()), int((truth == value).sum()), confidence)
        for value in (1, 0)
    ]
    ends: dict[str, list[float]] = {"balanced_accuracy": [], "f1": []}
    for sensitivity, specificity in ((one.low for one in rates), (one.high for one in rates)):
        called = sensitivity * fresh + (1.0 - specificity) * (1.0 - fresh)
        ends["balanced_accuracy"].append((sensitivity + specificity) / 2.0)
        ends["f1"].append(2.0 * sensitivity * fresh / (called + fresh))
    return {name: (low, high) for name, (low, high) in ends.items()}


def ece_bins(probabilities: Floats) -> Integers:
    """Returns the bin of each probability, from 0; bins are (low, high], the first one [0, high]."""
    edges = np.linspace(0.0, 1.0, ECE_BINS + 1)
    return np.asarray(np.searchsorted(edges[1:-1], probabilities, side="left"), dtype=np.int64)
