"""Do the maps hit a cause that was planted, and do the shortcut tests find a shortcut that was planted?

    python benchmarks/planted_truth.py

Draws synthetic posters twice: once labelled by title and figures alone, once with a small mark in
the upper right corner of most Fresh posters and much noise in the rest. Trains a small network on
each, through the product's own `fit_model`, and prints on the test posters: the pointing game
against a map that points at the middle, and the change in ROC AUC when corners, border, centre,
colour or detail are taken away. About one minute of processor time.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _measure import parse_options

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.image_files import match_images
from poster_ml.data.prepared import PreparedDataset, prepare
from poster_ml.data.tables import read_table
from poster_ml.evaluation.stats import Interval
from poster_ml.explain.maps import Explainer
from poster_ml.explain.perturbations import PERTURBATIONS, Perturbation, mask_boxes, shortcut_table
from poster_ml.explain.pointing import pointing_game
from poster_ml.pipeline.evaluate import DecisionRule, score_images
from poster_ml.pipeline.fit import TrainedModel, fit_model
from poster_ml.pipeline.poster_boxes import find_boxes
from poster_ml.synthetic.writing import Confounders, SyntheticSummary, write_posters

CORNER = 0.2  # of a side: the mark is smaller
# Title and figures may stand anywhere: pooled. The mark stands in one place: a flat head can learn the place.
POOLED = {"model.pooling": "average", "model.dense": [], "train.learning_rate": 3e-3}
FLAT = {"model.pooling": "flatten", "model.dense": [32], "train.learning_rate": 1e-3}
WORLDS = {
    "cause only": (0.95, Confounders(), POOLED),
    "mark in the corner": (0.75, Confounders(shortcut=0.9), FLAT),
}


def main() -> None:
    options = parse_options(__doc__, count=1200, size=64, epochs=15, seed=7)
    for name, (accuracy, confounders, head) in WORLDS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            summary = write_posters(
                folder / "synthetic",
                count=options.count,
                seed=options.seed,
                bayes_accuracy=accuracy,
                confounders=confounders,
            )
            dataset = prepared(folder, options.size, options.seed)
            candidate = fit_model(
                experiment(head, options.epochs, options.seed),
                dataset,
                folder=folder / "run",
                cache_folder=folder,
            )
            report(name, summary, dataset, candidate, options.seed)


def experiment(head: dict[str, Any], epochs: int, seed: int) -> ExperimentConfig:
    """Three convolutions without padding and one of two heads."""
    return replace(
        ExperimentConfig(),
        **{
            "seed": seed,
            "model.preprocessing": "unit",
            "model.weights": "none",
            "model.filters": [16, 32, 64],
            "train.optimizer": "adam",
            "train.epochs": epochs,
            **head,
        },
    )


def prepared(folder: Path, size: int, seed: int) -> PreparedDataset:
    synthetic = folder / "synthetic"
    movies, unmatched = match_images(read_table(synthetic / "movies.csv").movies, synthetic / "posters")
    source = {"table": "synthetic"}
    out = folder / "prepared"
    prepare(movies, unmatched, out, size=size, fit="squash", split="grouped", seed=seed, source=source)
    return PreparedDataset.open(out)


def corners(size: int, count: int, seed: int) -> dict[str, Perturbation]:
    """Hides one corner each, filled from its surroundings."""
    side = CORNER * size
    starts = {"upper left": (0, 0), "upper right": (1, 0), "lower left": (0, 1), "lower right": (1, 1)}
    found: dict[str, Perturbation] = {}
    for name, (right, low) in starts.items():
        left, top = right * (size - side), low * (size - side)
        box = (left, top, left + side, top + side)
        found[f"{name} masked"] = partial(mask_boxes, boxes=[[box]] * count, seed=seed)
    return found


def report(
    name: str, summary: SyntheticSummary, dataset: PreparedDataset, candidate: TrainedModel, seed: int
) -> None:
    rows = dataset.indices("test", 0, seed)
    images, labels = np.stack([dataset.images[row] for row in rows]), dataset.labels(rows)
    boxes = find_boxes(dataset, rows, np.arange(len(rows))).boxes

    def predict(posters: np.ndarray) -> np.ndarray:
        return score_images(candidate.model, posters, DecisionRule(1.0, 0.5))

    perturbations = {**corners(dataset.size, len(rows), seed), **PERTURBATIONS}
    table = shortcut_table(predict, images, predict(images), labels, perturbations)
    print(f"\n{name}: {summary.count} posters, {len(rows)} of them for the test")
    print(
        f"ROC AUC {table['roc_auc'][0]:.3f} (best possible {summary.best_roc_auc:.3f}), "
        f"accuracy {table['accuracy'][0]:.3f} (best possible {summary.best_accuracy:.3f})"
    )
    maps = Explainer(candidate.model).explain(images)
    games = {
        "Fresh map at the title": pointing_game(maps, boxes["title"]),
        "Rotten map at a figure": pointing_game(-maps, boxes["figures"]),
    }
    print("\npointing game             map                  middle               by chance  advantage")
    for what, game in games.items():
        keys = ("hit_rate", "centre_hit_rate", "advantage_over_centre")
        ours, centre, advantage = (Interval.of_record(game[key]).text(2) for key in keys)
        chance = game["area_share"]["mean"]
        print(f"{what:24}  {ours:19}  {centre:19}  {chance:.2f}       {advantage}")
    print("\nshortcut tests           ROC AUC  change")
    for row in table.iloc[1:].to_dict("records"):
        change = Interval.of(row, "roc_auc_change").text(sign=True)
        print(f"{row['perturbation']:24} {row['roc_auc']:.3f}    {change}")


if __name__ == "__main__":
    main()
