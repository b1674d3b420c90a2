"""How right one network is on one split, and what its logit decides: for train, evaluate and ensemble."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from poster_ml.config import EvaluateConfig, ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.baselines import (
    Combination,
    colour_histograms,
    cross_fitted,
    fit_baselines,
    majority_accuracy,
)
from poster_ml.evaluation.calibration import choose_threshold, fit_temperature, logit
from poster_ml.evaluation.combined import CombinedModel
from poster_ml.evaluation.report_files import EvaluationResult, References, write_evaluation
from poster_ml.evaluation.stats import Interval
from poster_ml.pipeline.diagnostics import Diagnostics
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
class EvaluationReport:
    """One split evaluated and explained: its numbers, and the folder that holds its files."""

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
                name = f"{self.split}_faithfulness_{score}_over_{control}"
                named |= Interval.of_record(measured).columns(name)
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


def score_splits(
    model: Any,
    dataset: PreparedDataset,
    splits: Sequence[str],
    config: ExperimentConfig,
    known: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Returns split -> (n,) float64 logits of a network.

    Args:
        model: the whole network in float32.
        dataset: where the posters are.
        splits: of train, val and test.
        config: its limit and seed say which posters are used.
        known: logits already computed by this very model on the same posters: not computed again.
    """
    logits = dict(known)
    for split in splits:
        if split not in logits:
            rows = dataset.indices(split, config.max_samples, config.seed)
            logger.info(f"scoring {len(rows)} posters of {split}")
            logits[split] = predict_logits(model, Samples(dataset.images, rows, dataset.labels(rows)))
    return logits


def evaluate_split(
    dataset: PreparedDataset,
    split: str,
    config: ExperimentConfig,
    decision_rule: DecisionRule,
    logits: Mapping[str, np.ndarray],
    folder: Path,
    combined: CombinedModel | None = None,
) -> EvaluationResult:
    """Measures how right a network is on one split.

    Args:
        dataset: where the posters are.
        split: train, val or test.
        config: the experiment; its limit, seed and evaluate section are used.
        decision_rule: temperature and threshold, from validation.
        logits: of `split` and of val, as from `score_splits`.
        folder: gets `evaluation/<split>/`.
        combined: the logged one of the network; None fits it. On validation, which it was fitted on, it is
            left out: there the combination is cross-fitted.

    Returns: the numbers and where the files lie.
    """
    logger.info(f"evaluating {split}")
    rows = {name: dataset.indices(name, config.max_samples, config.seed) for name in ("train", "val", split)}
    train, validation = (dataset.index.iloc[rows[name]] for name in ("train", "val"))
    posters = dataset.index.iloc[rows[split]].reset_index(drop=True)
    probabilities = expit(logits[split] / decision_rule.temperature)
    histograms = partial(colour_histograms, dataset.images)
    colours = histograms(rows["train"]), histograms(rows[split])
    baselines, notes = fit_baselines(train, posters, colours, seed=config.seed)
    combination = None
    if split == "val" and "year_genre" in baselines:
        combination = cross_fitted(train, posters, probabilities, seed=config.seed)
    elif split != "val" and baselines:
        other = expit(logits["val"] / decision_rule.temperature)
        combined = combined or CombinedModel.fit(train, validation, other, seed=config.seed)
        if combined is not None:
            design = f"combination fitted on {combined.posters} posters of another split"
            both = combined.probabilities(posters, probabilities)
            combination = Combination(*both, design, optimistic=False)
    majority = majority_accuracy(posters["label"], train["label"])
    return write_evaluation(
        folder / "evaluation" / split,
        posters.assign(brightness=[dataset.images[row].mean() / 255.0 for row in rows[split]]),
        probabilities,
        References(majority, baselines, combination, notes),
        threshold=decision_rule.threshold,
        repeats=config.evaluate.bootstrap,
        confidence=config.evaluate.confidence,
        seed=config.seed,
        logits=logits[split],
    )


def score_images(model: Any, images: np.ndarray, decision_rule: DecisionRule) -> np.ndarray:
    """Returns the calibrated probability of Fresh (n,) of posters (n, H, W, 3) uint8 in memory."""
    samples = Samples(images, np.arange(len(images)), np.zeros(len(images), np.int64))
    return np.asarray(expit(predict_logits(model, samples) / decision_rule.temperature))


def with_interval(metrics: Mapping[str, float], name: str, digits: int = 3) -> str:
    """Returns "0.612 (0.590 to 0.634)", from `name_ci_low` and `name_ci_high` where they were measured."""
    if f"{name}_ci_low" not in metrics:
        return f"{metrics[name]:.{digits}f}"
    return Interval.of(metrics, name).text(digits)
