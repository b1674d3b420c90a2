"""How right one network is on one split, and what its logit decides: for train, evaluate and ensemble."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from poster_ml.config import EvaluateConfig, ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.data.reading import Rows
from poster_ml.evaluation.baselines import (
    Combination,
    MetadataModel,
    colour_histograms,
    cross_fitted,
    fit_baselines,
    fit_metadata,
    majority_accuracy,
)
from poster_ml.evaluation.calibration import choose_threshold, fit_temperature, logit
from poster_ml.evaluation.combined import CombinedModel
from poster_ml.evaluation.report_files import EvaluationResult, References, write_evaluation
from poster_ml.evaluation.stats import Interval
from poster_ml.pipeline.diagnostics import Diagnostics
from poster_ml.pipeline.records import check_size, recorded_logits
from poster_ml.serving.load import load_keras_model, load_reference
from poster_ml.serving.reference import Neighbours, Reference
from poster_ml.tracking.runs import RunRecord
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

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Returns the calibrated probabilities (n,) of Fresh for logits (n,)."""
        return np.asarray(expit(logits / self.temperature))

    def uncalibrated_threshold(self) -> float:
        """Returns the same threshold for the sigmoid of a logit that was not divided by the temperature."""
        return float(expit(self.temperature * logit(self.threshold)))


@dataclass(frozen=True)
class EvaluationReport:
    """One split evaluated and explained: its numbers."""

    split: str
    result: EvaluationResult
    faithfulness: dict[str, Any] | None
    diagnostics: Diagnostics

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


@dataclass(frozen=True)
class ScoredModel:
    """A trained network, how it decides, and what it says of a dataset's posters.

    Args:
        model: the whole network in float32.
        dataset: where the posters are.
        config: the experiment; its limit and seed say which posters are used.
        rule: temperature and threshold, from validation.
        logits: split -> (n,) float64; of val, and of a split that is evaluated.
    """

    model: Any
    dataset: PreparedDataset
    config: ExperimentConfig
    rule: DecisionRule
    logits: Mapping[str, np.ndarray]

    def rows(self, split: str) -> Rows:
        """Returns the positions (n,) of a split's posters."""
        return self.dataset.indices(split, self.config.max_samples, self.config.seed)

    def posters(self, split: str) -> pd.DataFrame:
        """Returns what is known of a split's posters, n rows."""
        return self.dataset.index.iloc[self.rows(split)].reset_index(drop=True)

    def probabilities(self, split: str) -> np.ndarray:
        """Returns the calibrated probabilities (n,) of Fresh."""
        return self.rule.probabilities(self.logits[split])

    @cached_property
    def metadata(self) -> dict[str, MetadataModel]:
        """What year and genres alone tell, fitted on the training posters."""
        return fit_metadata(self.posters("train"), self.config.seed)

    @cached_property
    def combined(self) -> CombinedModel | None:
        """The network together with year and genres, fitted on validation; None where neither is known."""
        known, seed = (self.posters("val"), self.probabilities("val")), self.config.seed
        return CombinedModel.fit(self.posters("train"), *known, seed=seed, metadata=self.metadata)

    def reference(self, neighbours: Neighbours | None = None) -> Reference:
        """Returns what the model is logged with: validation and training posters, the combination.

        Args:
            neighbours: the training posters as the network sees them; None where left out.
        """
        known = self.posters("val")[["label", "year", "genres"]]
        logits = self.logits["val"] / self.rule.temperature
        return Reference(known.assign(logit=logits), self.combined, neighbours)


def score_split(model: Any, dataset: PreparedDataset, split: str, config: ExperimentConfig) -> np.ndarray:
    """Returns the logits (n,) float64 that a network in float32 gives the posters of a split."""
    rows = dataset.indices(split, config.max_samples, config.seed)
    logger.info(f"scoring {len(rows)} posters of {split}")
    return predict_logits(model, Samples(dataset.images, rows, dataset.labels(rows)))


def open_scored(
    record: RunRecord,
    config: ExperimentConfig,
    dataset: PreparedDataset,
    splits: Set[str],
    model_uri: str = "",
    name: str = "the model",
) -> tuple[ScoredModel, Reference | None]:
    """Opens the model of a finished run, with what it says of the posters of some splits.

    Args:
        record, config: of the run.
        dataset: as of `recorded_dataset`; validation logits that the run logged of it are not computed again.
        splits: of train, val and test.
        model_uri: instead of the run's own model.
        name: of the model in messages.

    Returns: the network with its decision rule, and what it was logged with.
    Raises: RegistryError; DatasetError where the model takes posters of another size.
    """
    uri = model_uri or f"runs:/{record.run_id}/model"
    (network, settings), reference = load_keras_model(uri), load_reference(uri)
    check_size(settings, dataset, name)
    logits = recorded_logits(record, dataset, config)
    logits |= {split: score_split(network, dataset, split, config) for split in splits - {*logits}}
    rule = DecisionRule(settings.temperature, settings.threshold)
    return ScoredModel(network, dataset, config, rule, logits), reference


def evaluate_split(
    scored: ScoredModel, split: str, folder: Path, combined: CombinedModel | None = None
) -> EvaluationResult:
    """Measures how right a network is on one split.

    Args:
        scored: with the logits of `split` and of val.
        split: train, val or test.
        folder: gets `evaluation/<split>/`.
        combined: the logged one of the network; None fits it. On validation, which it was fitted
            on, it is left out: there the combination is cross-fitted.

    Returns: the numbers and where the files lie.
    """
    logger.info(f"evaluating {split}")
    images, settings, seed = scored.dataset.images, scored.config.evaluate, scored.config.seed
    rows, train, posters = scored.rows(split), scored.posters("train"), scored.posters(split)
    probabilities = scored.probabilities(split)
    colours = colour_histograms(images, scored.rows("train")), colour_histograms(images, rows)
    baselines, notes = fit_baselines(train, posters, colours, seed=seed, metadata=scored.metadata)
    combination = None
    if split == "val" and "year_genre" in baselines:
        combination = cross_fitted(train, posters, probabilities, seed=seed, metadata=scored.metadata)
    elif split != "val" and baselines:
        combined = combined or scored.combined
        if combined is not None:
            design = f"combination fitted on {combined.posters} posters of another split"
            both = combined.probabilities(posters, probabilities)
            combination = Combination(*both, design, optimistic=False)
    majority = majority_accuracy(posters["label"], train["label"])
    return write_evaluation(
        folder / "evaluation" / split,
        posters.assign(brightness=[images[row].mean() / 255.0 for row in rows]),
        probabilities,
        References(majority, baselines, combination, notes),
        threshold=scored.rule.threshold,
        repeats=settings.bootstrap,
        confidence=settings.confidence,
        seed=seed,
        logits=scored.logits[split],
    )


def score_images(model: Any, images: np.ndarray, decision_rule: DecisionRule) -> np.ndarray:
    """Returns the calibrated probability of Fresh (n,) of posters (n, H, W, 3) uint8 in memory."""
    samples = Samples(images, np.arange(len(images)), np.zeros(len(images), np.int64))
    return decision_rule.probabilities(predict_logits(model, samples))
