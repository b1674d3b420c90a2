"""The trained networks of an ensemble: loaded, scored on validation, checked to go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError
from poster_ml.pipeline.evaluate import score_split
from poster_ml.pipeline.records import recorded_config, recorded_dataset, recorded_logits
from poster_ml.serving.load import load_keras_model, load_reference
from poster_ml.serving.reference import Neighbours
from poster_ml.tracking.runs import RunRecord, find_run


@dataclass(frozen=True)
class Member:
    """One trained network of an ensemble; `logits` (n,) on validation, divided by its temperature.

    `neighbours`: the training posters as it sees them, None where they were not stored.
    """

    record: RunRecord
    config: ExperimentConfig
    network: Any
    temperature: float
    logits: np.ndarray
    neighbours: Neighbours | None

    @property
    def label(self) -> str:
        """Name and id of its run, for people."""
        return _label(self.record)


def load_members(runs: Sequence[str], data: Path | None = None) -> tuple[list[Member], PreparedDataset]:
    """Loads the networks of training runs, and opens the dataset that they share.

    Args:
        runs: their ids.
        data: a prepared dataset; None takes the one that the first run was trained on.

    Raises: ConfigError for runs that do not go together; TrackingError, DatasetError, RegistryError.
    """
    records = [find_run(run) for run in runs]
    for record in records:
        if "dataset.fingerprint" not in record.tags or "model.family" not in record.params:
            raise ConfigError(
                [f"{_label(record)} is no training run: give the ids of runs that `train` made"]
            )
        if record.status != "FINISHED":
            resume = f"`poster-ml train --resume {record.run_id}` finishes a training"
            raise ConfigError([f"{_label(record)} is {record.status}: give finished runs; {resume}"])
    if len({record.tags["dataset.fingerprint"] for record in records}) > 1:
        seen = ", ".join(f"{_label(record)} {record.tags['dataset.fingerprint'][:12]}" for record in records)
        raise ConfigError([f"averaged runs must share one dataset; fingerprints: {seen}"])
    if len({record.tags.get("fold", "") for record in records}) > 1:
        seen = ", ".join(f"{_label(record)} {record.tags.get('fold', 'none')}" for record in records)
        raise ConfigError([f"averaged runs must share one fold, or none have one; folds: {seen}"])
    dataset = recorded_dataset(records[0], data)
    members = [_load(record, dataset) for record in records]
    rows = [dataset.indices("val", member.config.max_samples, member.config.seed) for member in members]
    if any(not np.array_equal(rows[0], other) for other in rows):
        raise ConfigError(
            [
                "averaged runs must have used the same validation posters: train them without --limit, or "
                "with the same --limit and the same seed"
            ]
        )
    return members, dataset


def _load(record: RunRecord, dataset: PreparedDataset) -> Member:
    """Loads one network and its validation logits: those it logged, else computed."""
    config = recorded_config(record)
    network, settings = load_keras_model(f"runs:/{record.run_id}/model")
    if settings.size != dataset.size:
        raise ConfigError(
            [
                f"{_label(record)} takes posters of {settings.size} pixels, {dataset.folder} has "
                f"{dataset.size}: prepare the data with --size {settings.size}"
            ]
        )
    logits = recorded_logits(record, dataset, config).get("val")
    if logits is None:
        logits = score_split(network, dataset, "val", config)
    reference = load_reference(f"runs:/{record.run_id}/model")
    neighbours = reference.neighbours if reference else None
    return Member(record, config, network, settings.temperature, logits / settings.temperature, neighbours)


def mix(members: Sequence[Member], labels: np.ndarray, rule: str) -> tuple[list[float], float]:
    """Returns weights and bias: logit = sum of weight x member's logit / member's temperature, plus bias.

    Args:
        members: the networks.
        labels: (n,) of the validation posters.
        rule: "mean" or "fitted", see `run_ensemble`.
    """
    if rule == "mean":
        return [1.0 / len(members)] * len(members), 0.0
    fitted = LogisticRegression(C=1.0).fit(np.stack([member.logits for member in members], axis=1), labels)
    return fitted.coef_[0].tolist(), float(fitted.intercept_[0])


def _label(record: RunRecord) -> str:
    return f"{record.name} {record.run_id[:6]}"
