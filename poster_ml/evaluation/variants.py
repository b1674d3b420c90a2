"""Variants trained with several seeds, compared: which differences outlast other posters and other seeds.

A run's interval speaks of the posters only: train the same variant again and the figure moves by more than
chance among posters. Here every variant counts as the mean over its runs. The variance of that mean, and of
a difference of two, has two parts that add up: posters (DeLong's components, or rights and wrongs, averaged
over the runs, so that runs on the same posters stay paired) and seeds (the spread between runs).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.alignment import align_predictions
from poster_ml.evaluation.forest import ForestRow, draw_forest
from poster_ml.evaluation.stats import (
    Floats,
    Integers,
    Interval,
    check_confidence,
    holm,
    p_text,
    structural_components,
)

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class VariantScore:
    """One variant over its runs; `*_spread` is the standard deviation between runs (n - 1), NaN for one."""

    name: str
    runs: int
    roc_auc: Interval
    roc_auc_spread: float
    accuracy: Interval
    accuracy_spread: float


@dataclass(frozen=True)
class VariantPair:
    """`first` minus `second`, means over runs; `p_holm` is corrected over all pairs."""

    first: str
    second: str
    auc_difference: Interval
    p: float
    p_holm: float


@dataclass(frozen=True)
class VariantTable:
    """All variants on their common posters, best ROC AUC first, and all pairs of them."""

    posters: int
    majority_accuracy: float
    confidence: float
    variants: list[VariantScore]
    pairs: list[VariantPair]

    def real(self, pair: VariantPair) -> bool:
        """Says whether two variants really differ in ROC AUC."""
        return pair.p_holm < 1.0 - self.confidence

    def difference(self, first: str, second: str) -> Interval:
        """Returns ROC AUC of `first` minus `second`; 0 without width for a variant and itself.

        Raises: EvaluationError where the two were not compared.
        """
        for pair in self.pairs:
            found = pair.auc_difference
            if (pair.first, pair.second) == (first, second):
                return found
            if (pair.first, pair.second) == (second, first):
                return Interval(-found.estimate, -found.high, -found.low)
        if first == second:
            return Interval(0.0, 0.0, 0.0)
        raise EvaluationError(f"{first} and {second} were not compared")

    def frame(self) -> pandas.DataFrame:
        """Returns one row per pair."""
        import pandas

        rows = []
        for pair in self.pairs:
            difference = pair.auc_difference
            rows.append(
                {
                    "first": pair.first,
                    "second": pair.second,
                    "auc_difference": difference.estimate,
                    "auc_difference_ci_low": difference.low,
                    "auc_difference_ci_high": difference.high,
                    "p": pair.p,
                    "p_holm": pair.p_holm,
                    "real": self.real(pair),
                }
            )
        return pandas.DataFrame(rows)

    def text(self) -> str:
        """Returns, for a terminal, which variants really differ in ROC AUC."""
        if not self.pairs:
            return "nothing to compare: fewer than two variants"
        compared = {name for pair in self.pairs for name in (pair.first, pair.second)}
        lines = [
            f"{len(compared)} variants on the same {self.posters:,} posters, means over their runs; "
            f"{self.confidence:.0%} intervals for other posters and, where there are several, other seeds",
            *(
                f"{pair.first} - {pair.second}: ROC AUC {pair.auc_difference.text(sign=True)} "
                f"{p_text(pair.p_holm)}: {'real' if self.real(pair) else 'not told apart'}"
                for pair in self.pairs
            ),
        ]
        real = sum(map(self.real, self.pairs))
        lines.append(f"{real} of {len(self.pairs)} pairs really differ (p-values corrected by Holm).")
        once = [each.name for each in self.variants if each.runs == 1 and each.name in compared]
        if once:
            lines.append(f"one run only, so nothing is known of other seeds: {', '.join(once)}")
        return "\n".join(lines)

    def _sources(self) -> str:
        """What the intervals speak of."""
        compared = {name for pair in self.pairs for name in (pair.first, pair.second)}
        several = [each.runs > 1 for each in self.variants if each.name in compared]
        if all(several):
            return "other posters and seeds"
        return "other posters, and seeds where there are several" if any(several) else "other posters only"

    def draw(self, path: Path) -> Path:
        """Draws a forest plot of the differences; coloured where they are real."""
        rows = [
            ForestRow(
                f"{pair.first} - {pair.second}",
                pair.auc_difference,
                p_text(pair.p_holm),
                self.real(pair),
            )
            for pair in self.pairs
        ]
        return draw_forest(
            path,
            rows,
            label=f"difference in ROC AUC with {self.confidence:.0%} interval ({self._sources()})",
            title=f"{self.posters:,} posters; coloured: real after Holm's correction",
            reference=0.0,
        )


@dataclass(frozen=True)
class _Parts:
    """What a variant is made of: per run its AUC and accuracy; per poster the mean over runs."""

    aucs: Floats  # (R,)
    accuracies: Floats  # (R,)
    below: Floats  # (P,) mean share of Rotten posters below each Fresh one
    above: Floats  # (Q,) mean share of Fresh posters above each Rotten one
    right: Floats  # (N,) share of runs that are right


def compare_variants(
    predictions: Mapping[str, Sequence[pandas.DataFrame]],
    *,
    threshold: float | Mapping[str, Sequence[float]],
    confidence: float,
    not_compared: Collection[str] = (),
) -> VariantTable:
    """Compares variants by the mean over their runs, on the posters that all runs scored.

    Args:
        predictions: by variant its runs, each with movie_id (unique), label (0/1), probability. One run per
            seed; a variant may have one only, then its interval knows nothing of seeds.
        threshold: predicted Fresh from here on; one for all, or one per run.
        confidence: of the intervals; 1 - confidence is the error rate that Holm's correction keeps.
        not_compared: variants that are scored, but stand in no pair.

    Returns: variants and pairs, best ROC AUC first; no pairs where there are not two to compare.

    Raises: EvaluationError for no variant, one without runs, or predictions that do not fit together.

    Source: DeLong, DeLong and Clarke-Pearson 1988 for the part of the posters; intervals take the normal
        quantile for it and Student's for the seeds, joined by Satterthwaite's degrees of freedom.
    """
    check_confidence(confidence)
    empty = [name for name, runs in predictions.items() if not runs]
    if empty:
        raise EvaluationError(f"no run of {', '.join(empty)}: leave it out, or train it")
    labels, columns, _ = align_predictions(
        {
            f"{name}, run {number}": run
            for name, runs in predictions.items()
            for number, run in enumerate(runs)
        }
    )
    parts = {}
    for name, runs in predictions.items():
        scores = [columns[f"{name}, run {number}"] for number in range(len(runs))]
        limits = threshold[name] if isinstance(threshold, Mapping) else [threshold] * len(runs)
        parts[name] = _parts(labels, scores, limits)
    variants = [_score(name, part, confidence) for name, part in parts.items()]
    variants.sort(key=lambda variant: (-variant.roc_auc.estimate, variant.name))
    compared = [variant.name for variant in variants if variant.name not in not_compared]
    pairs = [_pair(first, second, parts, confidence) for first, second in combinations(compared, 2)]
    corrected = holm([pair.p for pair in pairs])
    share = float(labels.mean())
    return VariantTable(
        posters=len(labels),
        majority_accuracy=max(share, 1.0 - share),
        confidence=confidence,
        variants=variants,
        pairs=[replace(pair, p_holm=value) for pair, value in zip(pairs, corrected, strict=True)],
    )


def _parts(labels: Integers, scores: Sequence[Floats], limits: Sequence[float]) -> _Parts:
    components = [structural_components(labels, column) for column in scores]
    right = np.array(
        [(column >= limit) == labels for column, limit in zip(scores, limits, strict=True)], dtype="float64"
    )
    return _Parts(
        aucs=np.array([auc for auc, _, _ in components]),
        accuracies=right.mean(axis=1),
        below=np.mean([below for _, below, _ in components], axis=0),
        above=np.mean([above for _, _, above in components], axis=0),
        right=right.mean(axis=0),
    )


def _score(name: str, part: _Parts, confidence: float) -> VariantScore:
    posters = _of_mean(part.below) + _of_mean(part.above)
    return VariantScore(
        name=name,
        runs=len(part.aucs),
        roc_auc=_share(float(part.aucs.mean()), posters, part.aucs, confidence),
        roc_auc_spread=_spread(part.aucs),
        accuracy=_share(float(part.accuracies.mean()), _of_mean(part.right), part.accuracies, confidence),
        accuracy_spread=_spread(part.accuracies),
    )


def _share(estimate: float, posters: float, seeds: Floats, confidence: float) -> Interval:
    """Returns the interval of something between 0 and 1."""
    found, _ = _interval(estimate, posters, [seeds], confidence)
    return Interval(estimate, max(0.0, found.low), found.high)


def _pair(first: str, second: str, parts: Mapping[str, _Parts], confidence: float) -> VariantPair:
    one, other = parts[first], parts[second]
    posters = _of_mean(one.below - other.below) + _of_mean(one.above - other.above)
    difference = float(one.aucs.mean() - other.aucs.mean())
    interval, p_value = _interval(difference, posters, [one.aucs, other.aucs], confidence)
    return VariantPair(first, second, interval, p_value, p_value)


def _interval(
    estimate: float, posters: float, seeds: Sequence[Floats], confidence: float
) -> tuple[Interval, float]:
    """Returns the interval and the two-sided p-value of 0, from the variance of posters and that of seeds."""
    from scipy.stats import t

    parts = [(_of_mean(values), len(values) - 1) for values in seeds if len(values) > 1]
    variance = posters + sum(part for part, _ in parts)
    if variance == 0.0:
        return Interval(estimate, estimate, estimate), float(estimate == 0.0)
    # Satterthwaite: the part of the posters has (nearly) infinitely many degrees of freedom.
    uncertain = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / uncertain if uncertain > 0 else np.inf
    deviation = float(np.sqrt(variance))
    half = float(t.ppf(1.0 - (1.0 - confidence) / 2.0, freedom)) * deviation
    p_value = float(2.0 * t.sf(abs(estimate) / deviation, freedom))
    return Interval(estimate, max(-1.0, estimate - half), min(1.0, estimate + half)), p_value


def _of_mean(values: npt.NDArray[np.float64]) -> float:
    """Variance of a mean of independent values; 0 for one value, of whose spread nothing is known."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0


def _spread(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
