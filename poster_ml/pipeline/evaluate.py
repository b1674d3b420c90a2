"""Evaluates one trained network on one split: evaluation, explanation, report. Used by train and evaluate."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from poster_ml.config import EvaluateConfig, ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.calibration import fit_temperature, logit
from poster_ml.evaluation.report_files import EvaluationResult, References, write_evaluation
from poster_ml.evaluation.thresholds import choose_threshold
from poster_ml.explain.activations import dead_channels, default_activation_layers
from poster_ml.explain.faithfulness import measure_faithfulness
from poster_ml.explain.posters import write_explanation
from poster_ml.files import atomic_path
from poster_ml.pipeline.diagnostics import (
    Diagnostics,
    EvaluatedSplit,
    draw_order,
    run_diagnostics,
    with_ends,
)
from poster_ml.training.batches import Samples, predict_logits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecisionRule:
    """What turns a logit into a decision; fitted on validation, saved with the model.

    Args:
        temperature: above 0; the logit is divided by it.
        threshold: in (0, 1); Fresh from this probability on.
    """

    temperature: float
    threshold: float

    def uncalibrated_threshold(self) -> float:
        """Returns the same threshold for the sigmoid of a logit that was not divided by the temperature."""
        return float(expit(self.temperature * logit(self.threshold)))


@dataclass(frozen=True)
class RowsView:
    """Some rows of a memory map, read one at a time: `view[i]` is `images[rows[i]]`."""

    images: Any
    rows: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, position: int) -> np.ndarray:
        """Returns one poster (H, W, 3) uint8."""
        return np.asarray(self.images[self.rows[position]])

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, 3)."""
        return (len(self.rows), *self.images.shape[1:])


@dataclass(frozen=True)
class EvaluationReport:
    """One split evaluated: its numbers, and the folder that holds its files."""

    split: str
    result: EvaluationResult
    faithfulness: dict[str, Any] | None
    diagnostics: Diagnostics
    folder: Path

    def metrics(self) -> dict[str, float]:
        """Returns names as logged: the split before what belongs to it, baselines and gain without."""
        named = {f"{self.split}_{name}": value for name, value in self.diagnostics.metrics().items()}
        for control, scores in (self.faithfulness or {"against": {}})["against"].items():
            for score, measured in scores.items():
                named |= with_ends(f"{self.split}_faithfulness_{score}_over_{control}", measured)
        for name, value in self.result.metrics.items():
            shared = name.startswith(("baseline_", "poster_beyond_metadata"))
            named[name if shared and self.split == "test" else f"{self.split}_{name}"] = value
        return named


def fit_decision_rule(logits: np.ndarray, labels: np.ndarray, settings: EvaluateConfig) -> DecisionRule:
    """Fits temperature and threshold on validation logits (n,) and labels (n,)."""
    temperature = fit_temperature(logits, labels) if settings.calibrate else 1.0
    threshold = choose_threshold(
        labels,
        expit(logits / temperature),
        settings.threshold,
        cost_false_fresh=settings.cost_false_fresh,
        cost_false_rotten=settings.cost_false_rotten,
    )
    return DecisionRule(temperature, threshold)


def evaluate_split(
    model: Any,
    dataset: PreparedDataset,
    split: str,
    config: ExperimentConfig,
    decision_rule: DecisionRule,
    folder: Path,
    known_logits: dict[str, np.ndarray] | None = None,
    *,
    complete: bool = False,
) -> EvaluationReport:
    """Evaluates and explains a network on one split.

    Args:
        model: the whole network in float32.
        dataset: where the posters are.
        split: train, val or test.
        config: the experiment; its limit, seed, evaluate and explain sections are used.
        decision_rule: temperature and threshold, from validation.
        folder: gets `evaluation/<split>/` and `explain/<split>/`.
        known_logits: split -> (n,) logits already computed by this very model on the same rows.
        complete: False, after training, leaves out what takes minutes, see `run_diagnostics`.

    Returns: the numbers and where the files lie.
    """
    known = known_logits or {}
    rows = {name: dataset.indices(name, config.max_samples, config.seed) for name in ("train", "val", split)}

    def logits_of(name: str) -> np.ndarray:
        if name not in known:
            logger.info(f"scoring {len(rows[name])} posters of {name}")
            known[name] = predict_logits(model, _samples(dataset, rows[name]))
        return known[name]

    logits = logits_of(split)
    probabilities = expit(logits / decision_rule.temperature)
    posters = posters_table(dataset, rows[split])
    other = None if split == "val" else expit(logits_of("val") / decision_rule.temperature)
    references = References(
        train=dataset.index.iloc[rows["train"]],
        validation=None if other is None else dataset.index.iloc[rows["val"]],
        validation_probabilities=other,
        images=dataset.images,
        train_indices=rows["train"],
        rows=rows[split],
    )
    logger.info(f"evaluating {split}")
    result = write_evaluation(
        folder / "evaluation" / split,
        posters,
        probabilities,
        threshold=decision_rule.threshold,
        repeats=config.evaluate.bootstrap,
        confidence=config.evaluate.confidence,
        seed=config.seed,
        references=references,
        logits=logits,
    )
    logger.info(f"explaining {split}")
    place = folder / "explain" / split
    images = RowsView(dataset.images, rows[split])
    order = draw_order(posters, dataset.fingerprint)
    faithfulness = explain_split(model, images, posters, probabilities, decision_rule, config, order, place)
    logger.info(f"testing shortcuts and claims on {split}")
    evaluated = EvaluatedSplit(
        model=model,
        predict=lambda pictures: score_images(model, pictures, decision_rule),
        threshold=decision_rule.threshold,
        dataset=dataset,
        rows=rows[split],
        posters=posters,
        probabilities=probabilities,
        order=order,
    )
    diagnostics = run_diagnostics(evaluated, config, place, complete=complete)
    return EvaluationReport(split, result, faithfulness, diagnostics, folder)


def score_images(model: Any, images: np.ndarray, decision_rule: DecisionRule) -> np.ndarray:
    """Returns the calibrated probability of Fresh (n,) of posters (n, H, W, 3) uint8 in memory."""
    samples = Samples(images, np.arange(len(images)), np.zeros(len(images), np.int64))
    return np.asarray(expit(predict_logits(model, samples) / decision_rule.temperature))


def posters_table(dataset: PreparedDataset, rows: np.ndarray) -> pd.DataFrame:
    """Returns the index rows of the posters, with their mean brightness in [0, 1]."""
    posters = dataset.index.iloc[rows].reset_index(drop=True)
    brightness = np.array([dataset.images[row].mean() / 255.0 for row in rows])
    return posters.assign(brightness=brightness)


def explain_split(
    model: Any,
    images: RowsView,
    posters: pd.DataFrame,
    probabilities: np.ndarray,
    decision_rule: DecisionRule,
    config: ExperimentConfig,
    order: np.ndarray,
    folder: Path,
) -> dict[str, Any] | None:
    """Writes the sheets, the activation grids and, where asked for, how faithful the maps are.

    Args:
        model: the whole network.
        images: the posters of the split (n, H, W, 3) uint8.
        posters: their index rows.
        probabilities: (n,) of Fresh.
        decision_rule: its threshold decides what is an error, and for which class a map speaks.
        config: its explain section, seed and confidence are used.
        order: (n,) of `draw_order`: faithfulness is measured on the first ones.
        folder: `explain/<split>`; created.

    Returns: the faithfulness measures, or None where none were asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    titles = [None if pd.isna(title) else str(title) for title in posters["title"]]
    labels = posters["label"].to_numpy()
    method, layer = config.explain.method, config.explain.layer
    write_explanation(
        model,
        images,  # type: ignore[arg-type]
        labels,
        probabilities,
        titles,
        folder,
        threshold=decision_rule.threshold,
        method=method,
        layer_name=layer,
    )
    count = min(config.explain.faithfulness_posters, len(images))
    if count == 0:
        return None
    sample = np.stack([images[row] for row in np.sort(order[:count])])
    measured = measure_faithfulness(
        model,
        sample,
        threshold=decision_rule.uncalibrated_threshold(),
        method=method,
        layer_name=layer,
        confidence=config.evaluate.confidence,
        seed=config.seed,
    )
    measured["dead_channels"] = {
        name: int(dead_channels(model, sample, name).sum()) for name in default_activation_layers(model)
    }
    with atomic_path(folder / "faithfulness.json") as temporary:
        temporary.write_text(json.dumps(measured, indent=1))
    return measured


def _samples(dataset: PreparedDataset, rows: np.ndarray) -> Samples:
    return Samples(dataset.images, rows, dataset.labels(rows))
