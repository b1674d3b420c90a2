"""Have new posters changed since training? Stability index and Kolmogorov-Smirnov distance, with intervals.

Two samples of one number per poster are compared. The population stability index (PSI; Siddiqi
2006, "Credit Risk Scorecards", ch. 8: below .1 nothing to do, from .25 on a different population)
says how much changed; a permutation test of it and the two-sample Kolmogorov-Smirnov test say
whether chance alone could do that. The p-values of all features and both tests are corrected
together by Holm's method, so that the chance of any false alarm stays below 1 - confidence.

Both samples must be of different posters each: a poster scored a hundred times is one observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.stats import Floats, Interval, holm
from poster_ml.seeding import generator

BINS = 10
FEWEST = 50  # posters on each side: below that even PSI .25 is lost in noise
MODERATE, MAJOR = 0.1, 0.25
NONE, SLIGHT, MODERATE_DRIFT, MAJOR_DRIFT = "none seen", "slight", "moderate", "major"


def compare_features(
    reference: Mapping[str, npt.ArrayLike],
    current: Mapping[str, npt.ArrayLike],
    *,
    confidence: float = 0.95,
    repeats: int = 4000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Compares every feature that both have.

    Args:
        reference, current: by name, one value per poster, (n,) and (m,); NaN where a poster has none.
        confidence: of the intervals, and 1 - it the chance of any false alarm; in (0.5, 1).
        repeats: permutations and bootstrap resamples, at least 100.
        seed: an int >= 0.

    Returns: one dict per name, in the order of `reference`: `name`; `reference_posters`, `current_posters`,
        how many had a value; `reference_mean`, `current_mean`; `psi`, less what chance alone adds, with its
        bootstrap interval; `ks`, the largest distance of the two distribution functions, with an interval by
        the Dvoretzky-Kiefer-Wolfowitz inequality; `psi_p`, `ks_p`, corrected; `verdict`.
    Raises: EvaluationError where they share no feature, or one has fewer than 50 posters on a side.
    """
    names = [name for name in reference if name in current]
    if not names:
        raise EvaluationError(f"nothing to compare: {', '.join(reference)} against {', '.join(current)}")
    measured = [
        _measure(name, _clean(name, reference[name]), _clean(name, current[name]), confidence, repeats, seed)
        for name in names
    ]
    corrected = holm([row[test] for row in measured for test in ("psi_p", "ks_p")]).reshape(-1, 2)
    for row, (psi_p, ks_p) in zip(measured, corrected.tolist(), strict=True):
        size = row["psi"].estimate
        found = MAJOR_DRIFT if size >= MAJOR else MODERATE_DRIFT if size >= MODERATE else SLIGHT
        found = found if min(psi_p, ks_p) < 1.0 - confidence else NONE
        row |= {"psi_p": psi_p, "ks_p": ks_p, "verdict": found}
    return measured


def verdict(found: Sequence[Mapping[str, Any]]) -> str:
    """Says in one line what the rows of `compare_features` come to, and what to do about it."""
    drifted = [item["name"] for item in found if item["verdict"] in (MODERATE_DRIFT, MAJOR_DRIFT)]
    slight = [item["name"] for item in found if item["verdict"] == SLIGHT]
    if drifted:
        return f"drift in {', '.join(drifted)}: look at the new posters, and at the accuracy on new labels"
    if slight:
        return f"no drift that matters; significant but slight in {', '.join(slight)} (PSI below 0.1)"
    return "no drift seen"


def bin_edges(reference: Floats) -> Floats:
    """Returns the inner edges of `BINS` bins of about equal numbers of reference values.

    A value that fills a bin alone gets its own bin, so that leaving it is seen in either direction:
    posters that all were 182 pixels wide have the bins below 182, 182, and above.
    """
    edges = np.unique(np.quantile(reference, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    heavy = [edge for edge in edges if np.mean(reference == edge) > 1.0 / BINS]
    below = np.nextafter(np.array(heavy, dtype=np.float64), -np.inf)
    return np.unique(np.concatenate([edges, below]))


def stability_index(reference: npt.NDArray[np.int64], current: npt.NDArray[np.int64]) -> Floats:
    """Returns the population stability index of counts per bin: sum of (p - q) ln(p / q).

    Args:
        reference, current: (..., B) counts; half a poster is added to each bin, so that an empty one counts.

    Returns: (...), each at least 0.
    """
    p, q = (side + 0.5 for side in (reference, current))
    p, q = (side / side.sum(axis=-1, keepdims=True) for side in (p, q))
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1), dtype=np.float64)


def _clean(name: str, values: npt.ArrayLike) -> Floats:
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) < FEWEST:
        raise EvaluationError(
            f"{name}: {len(numbers)} posters on one side, at least {FEWEST} are needed: take a longer period"
        )
    return numbers


def _measure(
    name: str, reference: Floats, current: Floats, confidence: float, repeats: int, seed: int
) -> dict[str, Any]:
    """Returns one row of the result with uncorrected p-values, without the verdict."""
    edges = bin_edges(reference)
    counts = [
        np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) for side in (reference, current)
    ]
    random = generator(seed, "drift", name)
    index = float(stability_index(counts[0], counts[1]))
    # Chance alone: all posters divided at random into two groups of these sizes.
    both = counts[0] + counts[1]
    first = random.multivariate_hypergeometric(both, len(reference), size=repeats, method="marginals")
    shuffled = stability_index(first, both - first)
    resampled = stability_index(
        random.multinomial(len(reference), counts[0] / len(reference), size=repeats),
        random.multinomial(len(current), counts[1] / len(current), size=repeats),
    )
    tail = (1.0 - confidence) / 2.0
    # A resample is as far above its sample as the sample is above the truth: both are taken off.
    high, low = 2.0 * index - np.quantile(resampled, [tail, 1.0 - tail])
    estimate = max(0.0, index - float(shuffled.mean()))
    test = ks_2samp(reference, current, method="asymp")
    distance = float(test.statistic)
    # Bands that hold each distribution function with probability 1 - tail (Massart 1990).
    margin = sum(float(np.sqrt(np.log(2.0 / tail) / (2.0 * len(side)))) for side in (reference, current))
    return {
        "name": name,
        "reference_posters": len(reference),
        "current_posters": len(current),
        "reference_mean": float(reference.mean()),
        "current_mean": float(current.mean()),
        "psi": Interval(estimate, float(min(max(0.0, low), estimate)), float(max(high, estimate))),
        "psi_p": float((1 + np.sum(shuffled >= index - 1e-12)) / (1 + repeats)),
        "ks": Interval(distance, max(0.0, distance - margin), min(1.0, distance + margin)),
        "ks_p": float(test.pvalue),
    }
