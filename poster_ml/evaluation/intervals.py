"""Intervals: how far a metric could be off because the posters are only a sample.

Three methods, seeded or exact:

- every metric but ROC AUC and ECE: percentiles of a bootstrap that resamples Fresh and Rotten posters
  separately (stratified), so that every resample has the class balance of the split. The interval speaks
  about posters of this class balance; what an unknown balance would add is left out on purpose
  (`docs/evaluation.md` shows the coverage under both designs);
- ROC AUC: DeLong's variance in the fast form of Sun and Xu 2014 (doi:10.1109/LSP.2014.2337313), taken to
  the logit scale so that an interval never leaves [0, 1];
- ECE: the same bootstrap, inverted (`ece_interval` says why).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.metrics import METRIC_NAMES, Floats, Integers, Scorer, check_predictions
from poster_ml.progress import progress_bar
from poster_ml.seeding import generator

CHUNK = 100_000  # weights held at once: 0.8 MB stays in the processor's cache, 10 times faster than 32 MB


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its confidence interval, in the value's own unit."""

    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Says whether the value lies outside the interval."""
        return value < self.low or value > self.high

    def text(self, digits: int = 3, sign: bool = False) -> str:
        """Returns for example "0.662 (0.635 to 0.688)"; with `sign` positive numbers carry a plus."""
        form = f"{'+' if sign else ''}.{digits}f"
        return f"{self.estimate:{form}} ({self.low:{form}} to {self.high:{form}})"


def check_confidence(confidence: float) -> None:
    """Raises ValueError unless the confidence lies strictly between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence=}")


def bootstrap_weights(
    labels: Integers, repeats: int, seed: int, *, stratified: bool = True
) -> Iterator[Floats]:
    """Draws resamples with replacement, in chunks that fit in memory.

    Args:
        labels: (N,) 0 or 1.
        repeats: number of resamples, at least 1.
        seed: int >= 0.
        stratified: draw each class separately; otherwise posters are drawn whatever their class, and a
            resample that misses a class is drawn again.

    Yields: (R, N) how often each poster was drawn; the R sum to `repeats`.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats=}")
    random = generator(seed, "bootstrap", "stratified" if stratified else "plain")
    size = max(1, CHUNK // len(labels))
    for first in range(0, repeats, size):
        count = min(size, repeats - first)
        if not stratified:
            yield _plain_weights(labels, count, random)
            continue
        weights = np.zeros((count, len(labels)))
        for value in (0, 1):
            rows = np.flatnonzero(labels == value)
            weights[:, rows] = _draw(len(rows), count, random)
        yield weights


def _draw(items: int, count: int, random: np.random.Generator) -> Floats:
    """Draws `items` of `items` with replacement, `count` times; returns counts (count, items)."""
    drawn = random.integers(0, items, size=(count, items))
    drawn += np.arange(count)[:, None] * items
    return np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items).astype(np.float64)


def _plain_weights(labels: Integers, count: int, random: np.random.Generator) -> Floats:
    weights = _draw(len(labels), count, random)
    while True:
        fresh = weights @ labels
        lacking = np.flatnonzero((fresh == 0) | (fresh == len(labels)))
        if not lacking.size:
            return weights
        weights[lacking] = _draw(len(labels), len(lacking), random)


def percentile_interval(estimate: float, draws: Floats, confidence: float) -> Interval:
    """Returns the middle `confidence` of the draws, widened where needed to hold the estimate."""
    check_confidence(confidence)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(estimate), float(min(low, estimate)), float(max(high, estimate)))


def ece_interval(gaps: Floats, drawn_gaps: Floats, confidence: float) -> Interval:
    """Returns ECE with an interval that allows for its upward bias.

    Noise can only raise a sum of absolute gaps: a perfectly calibrated model shows an ECE above 0, and
    percentiles of a bootstrap, which adds the noise a second time, miss the truth nearly always. So the
    bootstrap gives the noise only, and a true ECE belongs to the interval when that noise, added to the
    observed gaps shrunk or stretched to that ECE, makes what was observed unsurprising (an inverted test).

    Args:
        gaps: (K,) of the sample, as `Scorer.bin_gaps`.
        drawn_gaps: (R, K) of the resamples.
        confidence: between 0 and 1.
    """
    check_confidence(confidence)
    tail = (1.0 - confidence) / 2.0
    estimate = float(np.abs(gaps).sum())
    noise = drawn_gaps - gaps
    scales = np.linspace(0.0, 3.0, 121)  # true ECE as a multiple of the observed one
    above = np.array([(np.abs(scale * gaps + noise).sum(axis=1) >= estimate).mean() for scale in scales])
    plausible = scales[(above >= tail) & (above <= 1.0 - tail)]
    if not plausible.size:
        # Even no miscalibration at all would show more than was seen.
        return Interval(estimate, 0.0, estimate)
    low, high = estimate * float(plausible.min()), estimate * float(plausible.max())
    return Interval(estimate, min(low, estimate), max(high, estimate))


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

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) of Fresh in [0, 1].
        threshold: in [0, 1].
        repeats: bootstrap resamples, at least 1; 1000 give each end to about a fiftieth of the width.
        confidence: between 0 and 1, for example 0.95.
        seed: int >= 0; the same seed gives the same interval.
        stratified: see `bootstrap_weights`.

    Returns: one Interval for each of METRIC_NAMES.

    Raises: EvaluationError as `metrics.score`.
    """
    scorer = Scorer.of(labels, probabilities, threshold)
    truth, values = check_predictions(labels, probabilities)
    estimates = scorer.weighted(np.ones((1, len(truth))))
    chunks: list[dict[str, Floats]] = []
    gaps: list[Floats] = []
    with progress_bar(repeats, "bootstrap", brief=True) as bar:
        for weights in bootstrap_weights(truth, repeats, seed, stratified=stratified):
            chunks.append(scorer.weighted(weights))
            gaps.append(scorer.bin_gaps(weights))
            bar.update(len(weights))
    result = {
        name: percentile_interval(
            float(estimates[name][0]), np.concatenate([chunk[name] for chunk in chunks]), confidence
        )
        for name in METRIC_NAMES
    }
    sample_gaps = scorer.bin_gaps(np.ones((1, len(truth))))[0]
    result["ece"] = ece_interval(sample_gaps, np.concatenate(gaps), confidence)
    result["roc_auc"] = delong_interval(truth, values, confidence)
    return result


def structural_components(labels: Integers, scores: Floats) -> tuple[float, Floats, Floats]:
    """Computes AUC and its placement values by mid-ranks (Sun and Xu 2014, algorithm 2), O(N log N).

    Returns: the AUC; (P,) for each Fresh poster the share of Rotten ones below it; (Q,) for each Rotten
        poster the share of Fresh ones above it. Ties count half.
    """
    from scipy.stats import rankdata

    fresh, rotten = scores[labels == 1], scores[labels == 0]
    ranks = rankdata(np.r_[fresh, rotten])
    below = (ranks[: len(fresh)] - rankdata(fresh)) / len(rotten)
    above = 1.0 - (ranks[len(fresh) :] - rankdata(rotten)) / len(fresh)
    return float(below.mean()), below, above


def _variance(values: Floats) -> float:
    """Returns the variance of a mean; of one value nothing is known, so the largest possible is taken."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.25


def delong_interval(labels: npt.ArrayLike, scores: npt.ArrayLike, confidence: float) -> Interval:
    """Returns ROC AUC with DeLong's interval on the logit scale.

    Args:
        labels: (N,) 0 or 1, both present.
        scores: (N,) any finite numbers, higher for Fresh.
        confidence: between 0 and 1.

    Where the classes are separated perfectly the variance is 0 and says nothing; the far end is then the
    exact binomial bound of the smaller class's n successes in n, tail ** (1 / n).
    """
    from scipy.stats import norm

    check_confidence(confidence)
    truth = np.asarray(labels, dtype=np.int64)
    auc, below, above = structural_components(truth, np.asarray(scores, dtype=np.float64))
    tail = (1.0 - confidence) / 2.0
    bound = tail ** (1.0 / min(len(below), len(above)))
    if auc in (0.0, 1.0):
        return Interval(auc, bound, 1.0) if auc == 1.0 else Interval(auc, 0.0, 1.0 - bound)
    deviation = np.sqrt(_variance(below) + _variance(above))
    centre = np.log(auc / (1.0 - auc))
    half = norm.ppf(1.0 - tail) * deviation / (auc * (1.0 - auc))
    low, high = 1.0 / (1.0 + np.exp(-np.clip([centre - half, centre + half], -700, 700)))
    return Interval(auc, float(low), float(high))


def delong_difference(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, confidence: float
) -> tuple[Interval, float]:
    """Compares two scores of the same posters: AUC(first) - AUC(second).

    Args:
        labels: (N,) 0 or 1, both present.
        first, second: (N,) scores, higher for Fresh, each on any scale.
        confidence: between 0 and 1.

    Returns: the difference with its paired interval, and the two-sided p-value of no difference.

    Source: DeLong, DeLong and Clarke-Pearson 1988, eq. 4-8.
    """
    from scipy.stats import norm

    check_confidence(confidence)
    truth = np.asarray(labels, dtype=np.int64)
    auc_first, below_first, above_first = structural_components(truth, np.asarray(first, dtype=np.float64))
    auc_second, below_second, above_second = structural_components(
        truth, np.asarray(second, dtype=np.float64)
    )
    difference = auc_first - auc_second
    below, above = below_first - below_second, above_first - above_second
    if not below.any() and not above.any():
        return Interval(difference, difference, difference), 1.0
    deviation = float(np.sqrt(_variance(below) + _variance(above)))
    half = float(norm.ppf(1.0 - (1.0 - confidence) / 2.0)) * deviation
    p_value = float(2.0 * norm.sf(abs(difference) / deviation)) if deviation > 0 else 0.0
    return Interval(difference, max(-1.0, difference - half), min(1.0, difference + half)), p_value


def wilson_interval(successes: int, count: int, confidence: float) -> Interval:
    """Returns a share with Wilson's interval (1927), right for small counts and shares near 0 or 1."""
    from scipy.stats import norm

    check_confidence(confidence)
    if not 0 <= successes <= count or count < 1:
        raise ValueError(f"need 0 <= successes <= count and count >= 1, got {successes=}, {count=}")
    share, quantile = successes / count, float(norm.ppf(1.0 - (1.0 - confidence) / 2.0))
    spread = quantile**2 / count
    centre = (share + spread / 2.0) / (1.0 + spread)
    half = quantile * np.sqrt(share * (1.0 - share) / count + spread / (4.0 * count)) / (1.0 + spread)
    return Interval(
        share, float(max(0.0, min(centre - half, share))), float(min(1.0, max(centre + half, share)))
    )
