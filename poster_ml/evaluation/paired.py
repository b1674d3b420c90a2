"""Small tests for paired yes-or-no results, and the correction for many of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poster_ml.evaluation.intervals import Interval


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns McNemar's two-sided mid-p value.

    Args:
        only_first: posters that only the first model got right, >= 0.
        only_second: posters that only the second one got right, >= 0.

    Returns: the exact binomial p-value less half the probability of what was seen; 1 where the models
        never disagree. The exact test is needlessly cautious, the asymptotic one too bold with few.
    """
    from scipy.stats import binom

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
    from scipy.stats import norm

    quantile = float(norm.ppf(1.0 - (1.0 - confidence) / 2.0))
    first, second, total = only_first + 0.5, only_second + 0.5, count + 2.0
    centre = (first - second) / total
    half = quantile * np.sqrt((first + second) - (first - second) ** 2 / total) / total
    estimate = (only_first - only_second) / count
    low, high = min(centre - half, estimate), max(centre + half, estimate)
    return Interval(estimate, float(max(-1.0, low)), float(min(1.0, high)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's corrected p-values (1979), in the order given; each below 0.05 keeps 5 % overall."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, position in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = running
    return corrected


def p_text(p_value: float) -> str:
    """Returns "p=0.012", or "p<.001" below that: no p-value is 0."""
    return "p<.001" if p_value < 0.001 else f"p={p_value:.3f}"
