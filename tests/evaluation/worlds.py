"""Movies whose labels follow from what is known of them, and what a model says of their posters."""

import numpy as np
import pandas


def movies(count: int, seed: int) -> pandas.DataFrame:
    """Old movies are Fresh, dramas are Fresh; both add up."""
    random = np.random.default_rng(seed)
    year = random.integers(1930, 2020, count)
    drama = random.random(count) < 0.5
    odds = (1975 - year) / 20 + 1.5 * (drama - 0.5)
    return pandas.DataFrame({
        "movie_id": [f"tt{seed}_{number}" for number in range(count)],
        "title": [f'Movie, "{number}"' for number in range(count)],
        "year": pandas.array(year, dtype="Int64"),
        "genres": np.where(drama, "Drama|War", "Comedy"),
        "label": (random.random(count) < 1 / (1 + np.exp(-odds))).astype(int),
        "width": 182,
        "height": 268,
    })  # fmt: skip


def said(table: pandas.DataFrame, strength: float = 1.0, seed: int = 0) -> np.ndarray:
    """Probabilities of Fresh: signal of this strength and noise."""
    noise = np.random.default_rng(seed).normal(size=len(table))
    return 1 / (1 + np.exp(-(strength * (table["label"].to_numpy() - 0.5) + noise)))
