"""Movies whose labels follow from what is known of them, and what a model says of their posters."""

from pathlib import Path

import numpy as np
import pandas

from poster_ml.evaluation.report_files import EvaluationResult, References, write_evaluation

NOTHING = References(0.5, {}, None, [])


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


def evaluate(
    folder: Path,
    posters: pandas.DataFrame,
    references: References = NOTHING,
    strength: float = 1.0,
    **changes: object,
) -> EvaluationResult:
    """Writes the evaluation of what a model of this strength says."""
    options: dict = {"threshold": 0.5, "repeats": 100, "confidence": 0.95, "seed": 0} | changes
    return write_evaluation(folder, posters, said(posters, strength), references, **options)
