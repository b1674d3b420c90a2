"""Every interval, test and correction of the project, once.

| question | answer |
|---|---|
| a share, an accuracy | `wilson_interval`; of several runs `accuracy_interval` |
| ROC AUC | `delong_interval`; of several runs `auc_interval` |
| two AUCs on the same posters | `delong_difference`; of several runs `auc_difference` |
| two AUCs on different posters | `auc_gap` |
| two accuracies on the same posters | `paired_accuracy_difference`, `mcnemar` |
| a mean over posters | `mean_interval` |
| a slope beside controls | `partial_effect` |
| another metric | `bootstrap_weights` with `percentile_interval`; ECE: `ece_interval` |
| many p-values of one family | `holm` |

A family is what one table or figure asks: its p-values are corrected together, and it says which they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import binom, norm, rankdata, t

from poster_ml.seeding import generator

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

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

    @classmethod
    def of(cls, row: Mapping[Any, Any], name: str) -> Interval:
        """Reads what `columns` wrote."""
        return cls(*(float(row[name + end]) for end in ("", "_ci_low", "_ci_high")))

    def columns(self, name: str) -> dict[str, float]:
        """Returns the three numbers as they are logged: `name`, `name_ci_low`, `name_ci_high`."""
        return {name: self.estimate, f"{name}_ci_low": self.low, f"{name}_ci_high": self.high}

    @classmethod
    def of_record(cls, record: Mapping[str, float]) -> Interval:
        """Reads what `record` wrote."""
        return cls(record["mean"], record["ci_low"], record["ci_high"])

    def record(self, count: int) -> dict[str, float]:
        """Returns a mean over `count` posters as it is written into JSON: `mean, ci_low, ci_high, n`."""
        return {"mean": self.estimate, "ci_low": self.low, "ci_high": self.high, "n": count}


NOT_MEASURED = Interval(np.nan, np.nan, np.nan)


def columns_of(intervals: Mapping[str, Interval]) -> dict[str, float]:
    """Returns the numbers of several intervals as they are logged, see `Interval.columns`."""
    return {key: end for name, one in intervals.items() for key, end in one.columns(name).items()}


def with_interval(metrics: Mapping[str, float], name: str, digits: int = 3) -> str:
    """Returns "0.612 (0.590 to 0.634)", from `name_ci_low` and `name_ci_high` where they were measured."""
    if f"{name}_ci_low" not in metrics:
        return f"{metrics[name]:.{digits}f}"
    return Interval.of(metrics, name).text(digits)


def holm(p_values: npt.ArrayLike) -> Floats:
    """Returns Holm's corrected p-values (1979) of one family, in the order given.

    NaN stays NaN and does not count as asked. Each below 1 - confidence keeps the chance of any
    false alarm in the family there. The same as statsmodels' `multipletests`, which collects
    garbage in every call: seconds beside a loaded TensorFlow.
    """
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    order = np.argsort(values)[: np.isfinite(values).sum()]  # NaN is sorted last
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return corrected


def p_text(p_value: float) -> str:
    """Returns "p=0.012", or "p<.001" below that: no p-value is 0."""
    return "p<.001" if p_value < 0.001 else f"p={p_value:.3f}"


def student(estimate: float, error: float, freedom: float, confidence: float) -> tuple[Interval, float]:
    """Returns the interval and the two-sided p-value of 0 by Student's t; infinite freedom is the normal.

    Args:
        estimate, error: of a mean or a slope, and its standard error, >= 0.
        freedom: degrees of freedom, above 0.
        confidence: between 0 and 1.
    """
    if error == 0.0:
        return Interval(estimate, estimate, estimate), float(estimate == 0.0)
    half = float(t.isf((1.0 - confidence) / 2.0, freedom)) * error
    p_value = float(2.0 * t.sf(abs(estimate) / error, freedom))
    return Interval(estimate, estimate - half, estimate + half), p_value


def _clipped(interval: Interval, low: float, high: float) -> Interval:
    return Interval(interval.estimate, max(low, interval.low), min(high, interval.high))


def mean_interval(
    values: npt.ArrayLike, confidence: float, bounds: tuple[float, float] = (-1.0, 1.0)
) -> tuple[Interval, float]:
    """Returns a mean over posters with Student's interval, and the two-sided p-value of a mean of 0.

    The t interval covers as it says with 16 posters already, where percentiles of a bootstrap are too narrow.

    Args:
        values: (N,) one value per poster, N at least 1; pair first, then call.
        confidence: between 0 and 1.
        bounds: what a value can be. One poster says nothing of the mean: then they are the interval.
    """
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Interval(mean, *bounds), 1.0
    error = float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
    interval, p_value = student(mean, error, len(numbers) - 1, confidence)
    return _clipped(interval, *bounds), p_value


def wilson_interval(successes: float, count: float, confidence: float) -> Interval:
    """Returns a share with Wilson's interval (1927), right for small counts and shares near 0 or 1."""
    from statsmodels.stats.proportion import proportion_confint

    if not 0 <= successes <= count or count <= 0:
        raise ValueError(f"need 0 <= successes <= count and count > 0, got {successes=}, {count=}")
    share = successes / count
    low, high = proportion_confint(successes, count, alpha=1.0 - confidence, method="wilson")
    return Interval(share, float(max(0.0, min(low, share))), float(min(1.0, max(high, share))))


def accuracy_interval(right: npt.NDArray[np.bool_], confidence: float) -> Interval:
    """Returns the mean accuracy of several runs on the same posters; of one run it is Wilson's interval.

    Args:
        right: (R, N) whether each run is right about each poster; the spread between the runs is
            what other seeds would add.
        confidence: between 0 and 1.

    Wilson's interval knows a share and a number of posters. The number that goes in is that of
    independent posters which would make the share vary as much as posters and seeds together do.
    """
    posters = right.mean(axis=0)  # (N,) share of the runs that are right
    share, total = float(posters.mean()), right.shape[1]
    variance, freedom = _with_seeds(float(posters.var()) / total, [right.mean(axis=1)])
    count = share * (1.0 - share) / variance if variance > 0 else float(total)
    # Student's quantile instead of the normal one: Wilson's formula holds quantile ** 2 / count only.
    tail = (1.0 - confidence) / 2.0
    count *= float(norm.isf(tail) / t.isf(tail, freedom)) ** 2
    return wilson_interval(share * count, count, confidence)


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns McNemar's two-sided mid-p value (Fagerland et al. 2013, doi:10.1186/1471-2288-13-91).

    Args:
        only_first: posters that only the first model got right, >= 0.
        only_second: posters that only the second one got right, >= 0.

    Returns: the exact binomial p-value less half the probability of what was seen; 1 where the models
        never disagree. The exact test is needlessly cautious, the asymptotic one too bold with few.
    """
    count = only_first + only_second
    if count == 0:
        return 1.0
    smaller = min(only_first, only_second)
    p_value = 2.0 * binom.cdf(smaller, count, 0.5) - binom.pmf(smaller, count, 0.5)
    return float(min(1.0, p_value))


def paired_accuracy_difference(only_first: int, only_second: int, count: int, confidence: float) -> Interval:
    """Returns accuracy(first) - accuracy(second) of N = `count` posters, with Wald's interval + 2.

    Source: Agresti and Min 2005 (doi:10.1002/sim.1781): half a poster is added to each of the four cells.
    """
    quantile = float(norm.isf((1.0 - confidence) / 2.0))
    first, second, total = only_first + 0.5, only_second + 0.5, count + 2.0
    centre = (first - second) / total
    half = quantile * np.sqrt((first + second) - (first - second) ** 2 / total) / total
    estimate = (only_first - only_second) / count
    low, high = min(centre - half, estimate), max(centre + half, estimate)
    return Interval(estimate, float(max(-1.0, low)), float(min(1.0, high)))


def structural_components(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[float, Floats, Floats]:
    """Computes AUC and its placement values by mid-ranks (Sun and Xu 2014, algorithm 2), O(N log N).

    Args:
        labels: (N,) 0 or 1, both present.
        scores: (N,) any finite numbers, higher for Fresh.

    Returns: the AUC; (P,) for each Fresh poster the share of Rotten ones below it; (Q,) for each
        Rotten poster the share of Fresh ones above it. Ties count half.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    fresh, rotten = values[truth == 1], values[truth == 0]
    ranks = rankdata(np.r_[fresh, rotten])
    below = (ranks[: len(fresh)] - rankdata(fresh)) / len(rotten)
    above = 1.0 - (ranks[len(fresh) :] - rankdata(rotten)) / len(fresh)
    return float(below.mean()), below, above


def _variance(values: Floats) -> float:
    """Returns the variance of a mean; of one value nothing is known, so the largest possible is taken."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.25


def _with_seeds(posters: float, seeds: Sequence[Floats]) -> tuple[float, float]:
    """Adds the variance between runs, each group of (R,) on its own; one run says nothing of other seeds.

    Returns: the variance of the mean and its degrees of freedom by Satterthwaite, where the part of
        the posters has (nearly) infinitely many.
    """
    parts = [(_variance(values), len(values) - 1) for values in seeds if len(values) > 1]
    variance = posters + sum(part for part, _ in parts)
    uncertain = sum(part**2 / freedom for part, freedom in parts)
    return variance, variance**2 / uncertain if uncertain > 0 else np.inf


@dataclass(frozen=True)
class Ranking:
    """How one run, or several on the same posters, rank Fresh above Rotten.

    aucs: (R,) of the runs; their spread is what other seeds would add.
    below, above: (P,), (Q,) placement values, means over the runs (`structural_components`).
    """

    aucs: Floats
    below: Floats
    above: Floats

    @classmethod
    def of(cls, labels: npt.ArrayLike, *scores: npt.ArrayLike, folds: npt.ArrayLike | None = None) -> Ranking:
        """Ranks by the scores (N,) of each run; higher for Fresh, each on any scale.

        Args:
            labels, scores: (N,) as of `structural_components`.
            folds: (N,) of a cross-validation, both classes in each. Every poster is then ranked
                among those of its own fold: the networks of different folds share no scale. The AUC
                is the mean of the folds', weighted by their Fresh posters. Source: LeDell et al.
                2015 (doi:10.1214/15-EJS1035); coverage: `benchmarks/fold_coverage.py`.
        """
        truth = np.asarray(labels)
        parts = np.zeros(len(truth)) if folds is None else np.asarray(folds)
        placements = np.empty((len(scores), len(truth)))
        for fold in np.unique(parts):
            inside = parts == fold
            for row, values in zip(placements, scores, strict=True):
                _, below, above = structural_components(truth[inside], np.asarray(values)[inside])
                row[inside & (truth == 1)], row[inside & (truth == 0)] = below, above
        mean = placements.mean(axis=0)
        return cls(placements[:, truth == 1].mean(axis=1), mean[truth == 1], mean[truth == 0])


def auc_interval(ranking: Ranking, confidence: float) -> Interval:
    """Returns the mean ROC AUC of the runs, on the logit scale, which never leaves [0, 1].

    Where the classes are separated perfectly, or no two posters have different scores, the variance
    is 0 and says nothing. Then up to 1 - tail ** (1 / n) of the n posters of the smaller class may
    be different: the exact binomial bound of n in n.
    """
    auc, tail = float(ranking.aucs.mean()), (1.0 - confidence) / 2.0
    posters = _variance(ranking.below) + _variance(ranking.above)
    variance, freedom = _with_seeds(posters, [ranking.aucs])
    if auc in (0.0, 1.0) or variance == 0.0:
        bound = tail ** (1.0 / min(len(ranking.below), len(ranking.above)))
        return Interval(auc, auc * bound, 1.0 - (1.0 - auc) * bound)
    half = float(t.isf(tail, freedom)) * np.sqrt(variance) / (auc * (1.0 - auc))
    low, high = expit([logit(auc) - half, logit(auc) + half])
    return Interval(auc, float(low), float(high))


def delong_interval(labels: npt.ArrayLike, scores: npt.ArrayLike, confidence: float) -> Interval:
    """Returns one run's ROC AUC with DeLong's interval on the logit scale.

    Arguments as `structural_components`. Source: Sun and Xu 2014 (doi:10.1109/LSP.2014.2337313).
    """
    return auc_interval(Ranking.of(labels, scores), confidence)


def auc_difference(first: Ranking, second: Ranking, confidence: float) -> tuple[Interval, float]:
    """Compares the mean ROC AUC of two groups of runs on the same posters: first - second.

    Returns: the difference with its paired interval, and the two-sided p-value of no difference.

    Source: DeLong, DeLong and Clarke-Pearson 1988, eq. 4-8; the variance between runs is added to theirs.
    """
    below, above = first.below - second.below, first.above - second.above
    posters = _variance(below) + _variance(above) if below.any() or above.any() else 0.0
    variance, freedom = _with_seeds(posters, [first.aucs, second.aucs])
    difference = float(first.aucs.mean() - second.aucs.mean())
    interval, p_value = student(difference, float(np.sqrt(variance)), freedom, confidence)
    return _clipped(interval, -1.0, 1.0), p_value


def delong_difference(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, confidence: float
) -> tuple[Interval, float]:
    """Compares two scores (N,) of the same posters: AUC(first) - AUC(second), see `auc_difference`."""
    return auc_difference(Ranking.of(labels, first), Ranking.of(labels, second), confidence)


def auc_gap(
    labels: npt.ArrayLike, scores: npt.ArrayLike, inside: npt.NDArray[np.bool_], confidence: float
) -> tuple[Interval, float]:
    """Compares one model on two sets of different posters: ROC AUC inside less that outside.

    Args:
        labels, scores: (N,) as for `structural_components`; both classes on both sides.
        inside: (N,) which posters are in the first set.
        confidence: between 0 and 1.

    Returns: the difference with its interval, and the two-sided p-value of no difference.
    """
    truth, values = np.asarray(labels), np.asarray(scores)
    auc, *placements = structural_components(truth[inside], values[inside])
    other, *other_placements = structural_components(truth[~inside], values[~inside])
    variance = sum(map(_variance, [*placements, *other_placements]))
    interval, p_value = student(auc - other, float(np.sqrt(variance)), np.inf, confidence)
    return _clipped(interval, -1.0, 1.0), p_value


def partial_effect(
    feature: Floats, outcome: Floats, controls: Floats, confidence: float
) -> tuple[Interval, float] | None:
    """Returns the least-squares slope of the outcome on the feature beside controls, with its p-value.

    Args:
        feature, outcome: (N,).
        controls: (N, K) with a column of ones; columns may depend on each other.
        confidence: of the interval, from Student's t with the residual degrees of freedom.

    Returns: slope with the HC3 interval (MacKinnon and White 1985), and the two-sided p-value of no slope;
        None where the controls leave no variation in the feature, or too few degrees of freedom.
    """
    from statsmodels.regression.linear_model import OLS

    basis = _basis(controls)
    rest = feature - basis @ (basis.T @ feature)
    variation = float(((feature - feature.mean()) ** 2).sum())
    if len(feature) - basis.shape[1] < 11 or rest @ rest <= 1e-9 * max(variation, 1e-300):
        return None
    # A poster that has a control to itself is fitted exactly: it says nothing, and HC3 divides by zero.
    kept = (basis**2).sum(axis=1) < 1.0 - 1e-9
    design = np.column_stack([feature[kept], _basis(controls[kept])])
    fit = OLS(outcome[kept], design).fit(cov_type="HC3")
    return student(float(fit.params[0]), float(fit.bse[0]), float(fit.df_resid), confidence)


def _basis(columns: Floats) -> Floats:
    """Returns orthogonal columns (N, rank) that say the same as columns (N, K)."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > sizes[0] * 1e-10])


def bootstrap_weights(
    labels: Integers, repeats: int, seed: int, *, stratified: bool = True
) -> Iterator[Floats]:
    """Draws resamples with replacement, in chunks that fit in memory.

    Args:
        labels: (N,) 0 or 1.
        repeats: number of resamples, at least 1.
        seed: int >= 0.
        stratified: draw each class separately; otherwise posters are drawn whatever their class,
            and a resample that misses a class is drawn again.

    Yields: (R, N) how often each poster was drawn; the R sum to `repeats`.
    """
    random = generator(seed, "bootstrap", "stratified" if stratified else "plain")
    size = max(1, CHUNK // len(labels))
    classes = [np.flatnonzero(labels == value) for value in (0, 1)]
    for first in range(0, repeats, size):
        weights = np.zeros((min(size, repeats - first), len(labels)))
        lacking = np.arange(len(weights))
        while lacking.size:
            for rows in classes if stratified else [np.arange(len(labels))]:
                weights[np.ix_(lacking, rows)] = _draw(len(rows), len(lacking), random)
            fresh = weights @ labels
            lacking = np.flatnonzero((fresh == 0) | (fresh == len(labels)))
        yield weights


def _draw(items: int, count: int, random: np.random.Generator) -> Floats:
    """Draws `items` of `items` with replacement, `count` times; returns counts (count, items)."""
    drawn = random.integers(0, items, size=(count, items))
    drawn += np.arange(count)[:, None] * items
    return np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items).astype(np.float64)


def percentile_interval(estimate: float, draws: Floats, confidence: float) -> Interval:
    """Returns the middle `confidence` of the draws, widened where needed to hold the estimate."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(estimate), float(min(low, estimate)), float(max(high, estimate)))


def ece_interval(gaps: Floats, drawn_gaps: Floats, confidence: float) -> Interval:
    """Returns ECE with an interval that allows for its upward bias.

    Noise can only raise a sum of absolute gaps: a perfectly calibrated model shows an ECE above 0,
    and percentiles of a bootstrap, which adds the noise a second time, miss the truth nearly
    always. So the bootstrap gives the noise only, and a true ECE belongs to the interval when that
    noise, added to the observed gaps shrunk or stretched to that ECE, makes what was observed
    unsurprising (an inverted test).

    Args:
        gaps: (K,) of the sample, as `metrics.weighted_scores`.
        drawn_gaps: (R, K) of the resamples.
        confidence: between 0 and 1.
    """
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
