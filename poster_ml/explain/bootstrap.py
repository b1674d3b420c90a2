"""Intervals of a mean over posters, by bootstrap."""

from __future__ import annotations

import numpy as np

from poster_ml.seeding import generator

RESAMPLES = 2000


def mean_interval(values: np.ndarray, seed: int, purpose: str, level: float = 0.95) -> dict[str, float]:
    """Estimates a mean over posters with its percentile bootstrap interval.

    Args:
        values: (N,) one value per poster, N at least 1; posters are resampled, so pair first, then call.
        seed: the run's seed.
        purpose: what the number is; two purposes get independent resamples.
        level: of the interval, in (0, 1).

    Returns: `mean`, `ci_low`, `ci_high`, `n`, plain floats and an int.
    Raises: ValueError with the shape received.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"one value per poster is needed, got {values.shape=}")
    rows = generator(seed, "bootstrap", purpose).integers(0, len(values), (RESAMPLES, len(values)))
    tail = (1 - level) / 2
    low, high = np.quantile(values[rows].mean(axis=1), [tail, 1 - tail])
    return {"mean": float(values.mean()), "ci_low": float(low), "ci_high": float(high), "n": len(values)}
