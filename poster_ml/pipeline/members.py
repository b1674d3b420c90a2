"""The trained networks of an ensemble: loaded, scored on validation, checked to go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError
from poster_ml.pipeline.evaluate import ScoredModel, open_scored
from poster_ml.pipeline.records import recorded_config, recorded_dataset
from poster_ml.serving.reference import Neighbours
from poster_ml.tracking.runs import RunRecord, find_run


@dataclass(frozen=True)
class Member:
    """One trained network of an ensemble, scored on validation.

    `neighbours`: the training posters as it sees them, None where they were not stored.
    """

    record: RunRecord
    scored: ScoredModel
    neighbours: Neighbours | None

    @property
    def logits(self) -> np.ndarray:
        """Those of the validation posters (n,), divided by its temperature."""
        return self.scored.logits["val"] / self.scored.rule.temperature

    def about(self) -> dict[str, object]:
        """Returns what the run of an ensemble says of it."""
        return {
            "run_id": self.record.run_id,
            "variant": self.record.variant,
            "seed": self.scored.config.seed,
            "temperature": self.scored.rule.temperature,
        }

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
                [f"{_label(record)} is not a training run: give the ids of runs that `train` made"]
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
    members = []
    for record in records:
        scored, reference = open_scored(
            record, recorded_config(record), dataset, {"val"}, name=_label(record)
        )
        members.append(Member(record, scored, reference.neighbours if reference else None))
    rows = [member.scored.rows("val") for member in members]
    if any(not np.array_equal(rows[0], other) for other in rows):
        raise ConfigError(
            [
                "averaged runs must have used the same validation posters: train them without --limit, or "
                "with the same --limit and the same seed"
            ]
        )
    return members, dataset


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
