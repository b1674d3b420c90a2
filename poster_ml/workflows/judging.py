"""Judges one trained network on one split: evaluation, explanation, report. Used by train and evaluate."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.config import EvaluateConfig, ExperimentConfig, ExplainConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.calibration import fit_temperature, sigmoid
from poster_ml.evaluation.report_files import EvaluationResult, References, write_evaluation
from poster_ml.evaluation.thresholds import choose_threshold
from poster_ml.explain.activations import dead_channels, default_activation_layers, write_activation_grids
from poster_ml.explain.faithfulness import measure_faithfulness
from poster_ml.explain.maps import explain_images
from poster_ml.explain.sheets import write_sheet
from poster_ml.files import atomic_path
from poster_ml.training.batches import Samples, predict_logits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Operating:
    """What turns a logit into a decision; fitted on validation, saved with the model.

    Args:
        temperature: above 0; the logit is divided by it.
        threshold: in [0, 1]; Fresh from this probability on.
    """

    temperature: float
    threshold: float


@dataclass(frozen=True)
class Judgement:
    """One split judged: its numbers, and the folder that holds its files."""

    split: str
    result: EvaluationResult
    faithfulness: dict[str, Any] | None
    folder: Path

    def metrics(self) -> dict[str, float]:
        """Returns names as logged: the split before what belongs to it, baselines and gain without."""
        named = {}
        for name, value in self.result.metrics.items():
            shared = name.startswith(("baseline_", "poster_beyond_metadata"))
            named[name if shared and self.split == "test" else f"{self.split}_{name}"] = value
        return named


def fit_operating(logits: np.ndarray, labels: np.ndarray, settings: EvaluateConfig) -> Operating:
    """Fits temperature and threshold on validation logits (n,) and labels (n,)."""
    temperature = fit_temperature(logits, labels) if settings.calibrate else 1.0
    threshold = choose_threshold(labels, sigmoid(logits / temperature), settings.threshold)
    return Operating(temperature, threshold)


def judge(
    model: Any,
    dataset: PreparedDataset,
    split: str,
    config: ExperimentConfig,
    operating: Operating,
    folder: Path,
    known_logits: dict[str, np.ndarray] | None = None,
) -> Judgement:
    """Evaluates and explains a network on one split.

    Args:
        model: the whole network in float32.
        dataset: where the posters are.
        split: train, val or test.
        config: the experiment; its limit, seed, evaluate and explain sections are used.
        operating: temperature and threshold, from validation.
        folder: gets `evaluation/<split>/` and `explain/<split>/`.
        known_logits: split -> (n,) logits already computed by this very model on the same rows.

    Returns: the numbers and where the files lie.
    """
    known = known_logits or {}
    rows = {name: dataset.rows(name, config.limit, config.seed) for name in ("train", "val", split)}

    def logits_of(name: str) -> np.ndarray:
        if name not in known:
            logger.info(f"scoring {len(rows[name])} posters of {name}")
            known[name] = predict_logits(model, _samples(dataset, rows[name]))
        return known[name]

    logits = logits_of(split)
    probabilities = sigmoid(logits / operating.temperature)
    posters = posters_table(dataset, rows[split])
    other = None if split == "val" else sigmoid(logits_of("val") / operating.temperature)
    references = References(
        train=dataset.index.iloc[rows["train"]],
        validation=None if other is None else dataset.index.iloc[rows["val"]],
        validation_probabilities=other,
        images=dataset.images,
        train_rows=rows["train"],
        rows=rows[split],
    )
    logger.info(f"evaluating {split}")
    result = write_evaluation(
        folder / "evaluation" / split,
        posters,
        probabilities,
        threshold=operating.threshold,
        repeats=config.evaluate.bootstrap,
        confidence=config.evaluate.confidence,
        seed=config.seed,
        references=references,
        logits=logits,
    )
    logger.info(f"explaining {split}")
    place = folder / "explain" / split
    faithfulness = explain_split(
        model, dataset, rows[split], probabilities, posters, config.explain, config.seed, place
    )
    return Judgement(split, result, faithfulness, folder)


def posters_table(dataset: PreparedDataset, rows: np.ndarray) -> pd.DataFrame:
    """Returns the index rows of the posters, with their mean brightness in [0, 1]."""
    posters = dataset.index.iloc[rows].reset_index(drop=True)
    brightness = np.array([dataset.images[row].mean() / 255.0 for row in rows])
    return posters.assign(brightness=brightness)


def explain_split(
    model: Any,
    dataset: PreparedDataset,
    rows: np.ndarray,
    probabilities: np.ndarray,
    posters: pd.DataFrame,
    settings: ExplainConfig,
    seed: int,
    folder: Path,
) -> dict[str, Any] | None:
    """Writes the sheets, the activation grids and, where asked for, how faithful the maps are.

    Args:
        model: the whole network.
        dataset, rows: the posters of the split.
        probabilities: (n,) of Fresh.
        posters: the index rows of the same posters.
        settings: method, layer, how many posters.
        seed: of the posters that faithfulness is measured on.
        folder: `explain/<split>`; created.

    Returns: the faithfulness measures, or None where none were asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = posters["label"].to_numpy()
    for name, chosen, heading in sheets(probabilities, labels, settings.top):
        images = np.asarray(dataset.images[rows[chosen]])
        maps = _maps(model, images, settings)
        titles = [None if pd.isna(title) else str(title) for title in posters["title"].iloc[chosen]]
        write_sheet(folder / name, images, maps, titles, labels[chosen], probabilities[chosen], heading)
    surest = np.asarray(dataset.images[rows[int(np.argmax(probabilities))]])
    write_activation_grids(model, surest, folder)
    sample = np.sort(np.random.default_rng(seed).permutation(len(rows))[: settings.faithfulness_posters])
    images = np.asarray(dataset.images[rows[sample]])
    if len(images) == 0:
        return None
    measured = measure_faithfulness(
        model, images, method=settings.method, layer_name=settings.layer, seed=seed
    )
    measured["dead_channels"] = {
        layer: int(dead_channels(model, images, layer).sum()) for layer in default_activation_layers(model)
    }
    with atomic_path(folder / "faithfulness.json") as temporary:
        temporary.write_text(json.dumps(measured, indent=1))
    return measured


def sheets(probabilities: np.ndarray, labels: np.ndarray, top: int) -> list[tuple[str, np.ndarray, str]]:
    """Chooses the posters of each sheet.

    Args:
        probabilities: (n,) of Fresh.
        labels: (n,) 0 or 1.
        top: posters per sheet.

    Returns: (file name, positions, heading) for the surest of each class and the worst errors of each kind.
    """
    order = np.argsort(probabilities, kind="stable")
    falling = order[::-1]
    count = min(top, len(order) // 2)
    return [
        (f"cam_fresh_top{top}.png", falling[:count], "Most surely Fresh"),
        (f"cam_rotten_top{top}.png", order[:count], "Most surely Rotten"),
        ("errors_called_fresh.png", falling[labels[falling] == 0][:count], "Called Fresh, truly Rotten"),
        ("errors_called_rotten.png", order[labels[order] == 1][:count], "Called Rotten, truly Fresh"),
    ]


def _maps(model: Any, images: np.ndarray, settings: ExplainConfig) -> np.ndarray:
    if len(images) == 0:
        return np.zeros(images.shape[:3], dtype="float32")
    return explain_images(model, images, method=settings.method, layer_name=settings.layer, signed=True)


def _samples(dataset: PreparedDataset, rows: np.ndarray) -> Samples:
    return Samples(dataset.images, rows, dataset.labels(rows))
