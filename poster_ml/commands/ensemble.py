"""`poster-ml ensemble`: several trained networks averaged into one model."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from poster_ml.config import ExperimentConfig, ModelConfig, flatten, to_yaml
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError
from poster_ml.models.ensemble import build_ensemble
from poster_ml.pipeline.evaluate import EvaluationReport, evaluate_split, fit_decision_rule
from poster_ml.pipeline.explain import explain_split
from poster_ml.pipeline.records import recorded_config, recorded_dataset, recorded_logits
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task, run_tags
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.log import log_poster_model
from poster_ml.serving.settings import ServingSettings
from poster_ml.tracking.runs import RunRecord, find_run, open_run
from poster_ml.tracking.store import connect
from poster_ml.training.batches import Samples, predict_logits

logger = logging.getLogger(__name__)

FAMILY: Final = "ensemble"
RULES = ("mean", "fitted")
CHECKED = 16  # posters on which the network must give what was computed from the members' logits


@dataclass(frozen=True)
class Member:
    """One trained network of an ensemble; `logits` (n,) on validation, divided by its temperature."""

    record: RunRecord
    config: ExperimentConfig
    network: Any
    settings: ServingSettings
    logits: np.ndarray


@dataclass(frozen=True)
class EnsembleResult:
    """The new run, what went into it, and its validation metrics."""

    run_id: str
    name: str
    members: dict[str, float]
    metrics: dict[str, float]

    def text(self) -> str:
        """Returns the numbers that matter, with their intervals."""
        parts = ", ".join(f"{weight:.3f} x {member}" for member, weight in self.members.items())
        lines = [f"{self.name}: run {self.run_id}", f"  {parts}"]
        for name in ("val_accuracy", "val_roc_auc", "val_log_loss"):
            low, high = self.metrics[f"{name}_ci_low"], self.metrics[f"{name}_ci_high"]
            lines.append(f"  {name:<24}{self.metrics[name]:.4f}  ({low:.4f} to {high:.4f})")
        lines.append(f"next: poster-ml evaluate --run {self.run_id}")
        return "\n".join(lines)


def run_ensemble(
    runs: Sequence[str], *, name: str = "ensemble", rule: str = "mean", data: Path | None = None
) -> EnsembleResult:
    """Averages the networks of trained runs, evaluates the ensemble on validation and logs it.

    Args:
        runs: ids of two or more training runs, on the same dataset.
        name: of the run and its variant.
        rule: "mean" gives every network the same weight on its temperature-scaled logit, and nothing is
            fitted but one temperature. "fitted" takes the weights of a logistic regression (L2 penalty,
            C = 1) of the validation labels on those logits: its validation metrics are then a little too
            good.
        data: a prepared dataset; None takes the one that the first run was trained on.

    Raises: ConfigError for runs that do not go together; TrackingError, DatasetError, RegistryError.
    """
    if rule not in RULES:
        raise ConfigError([f"unknown rule {rule!r}: choose one of {', '.join(RULES)}"])
    if not name.strip():
        raise ConfigError(["--name is empty: give the run and its variant a name"])
    chosen = list(dict.fromkeys(runs))
    if len(chosen) < 2:
        raise ConfigError(
            [f"ensemble needs at least two different runs, received {', '.join(chosen) or 'none'}"]
        )
    connect(write=True)
    records = [find_run(run) for run in chosen]
    _check_records(records)
    dataset = recorded_dataset(records[0], data)
    members = [_member(record, dataset) for record in records]
    _check_posters(members, dataset)
    config = _ensemble_config(name, members[0].config)
    rows = dataset.indices("val", config.max_samples, config.seed)
    weights, bias = _mix(members, dataset.labels(rows), rule)
    with open_run(name, tags=_tags(records, dataset, config)) as run:
        params = {"ensemble.rule": rule, "ensemble.bias": bias, "data": str(dataset.folder)}
        run.log_params(_params(config, members, weights) | params)
        run.log_dataset(dataset.index, dataset.folder, dataset.fingerprint, "averaging")
        factors = [
            weight / member.settings.temperature for weight, member in zip(weights, members, strict=True)
        ]
        model = build_ensemble([member.network for member in members], factors, bias)
        logits = np.array(weights) @ np.stack([member.logits for member in members]) + bias
        _check_network(model, dataset, rows[:CHECKED], logits[:CHECKED])
        decision_rule = fit_decision_rule(logits, dataset.labels(rows), config.evaluate)
        run.log_metrics(dataclasses.asdict(decision_rule) | {"parameters": model.count_params()})
        logger.info("logging the model")
        log_poster_model(
            model,
            size=dataset.size,
            fit=dataset.manifest["options"]["fit"],
            threshold=decision_rule.threshold,
            temperature=decision_rule.temperature,
            variant=name,
            family=FAMILY,
        )
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            scored = evaluate_split(dataset, "val", config, decision_rule, {"val": logits}, folder)
            explained = explain_split(model, dataset, "val", config, decision_rule, logits, folder)
            evaluation = EvaluationReport("val", scored, *explained, folder)
            run.log_results(evaluation.metrics())
            write_report(folder, run.run_id, evaluation, config, dataset, "full")
            (folder / "experiment.yaml").write_text(to_yaml(config), encoding="utf-8")
            run.log_folder(folder)
    shares = dict(zip([_label(member.record) for member in members], weights, strict=True))
    return EnsembleResult(run.run_id, name, shares, evaluation.metrics())


def _member(record: RunRecord, dataset: PreparedDataset) -> Member:
    """Loads one network and its validation logits: those it logged, else computed."""
    config = recorded_config(record)
    network, settings = load_keras_model(f"runs:/{record.run_id}/model")
    logits = recorded_logits(record, dataset, config).get("val")
    if logits is None and settings.size == dataset.size:
        rows = dataset.indices("val", config.max_samples, config.seed)
        logger.info(f"scoring {len(rows)} posters of val with {_label(record)}")
        samples = Samples(dataset.images, rows, dataset.labels(rows))
        logits = predict_logits(network, samples)
    scaled = np.zeros(0) if logits is None else logits / settings.temperature
    return Member(record, config, network, settings, scaled)


def _check_records(records: Sequence[RunRecord]) -> None:
    """Refuses, before anything is loaded, runs that hold no network or saw different posters."""
    for record in records:
        if "dataset.fingerprint" not in record.tags or "model.family" not in record.params:
            raise ConfigError(
                [f"{_label(record)} is no training run: give the ids of runs that `train` made"]
            )
        if record.status != "FINISHED":
            averaged = record.tags.get("family") == FAMILY
            remedy = (
                "ensemble it again" if averaged else f"`poster-ml train --resume {record.run_id}` finishes it"
            )
            raise ConfigError([f"{_label(record)} is {record.status}: give finished runs; {remedy}"])
    prints = {_label(record): record.tags["dataset.fingerprint"] for record in records}
    if len(set(prints.values())) > 1:
        seen = ", ".join(f"{label} {value[:12] or 'none'}" for label, value in prints.items())
        raise ConfigError(
            [f"averaged runs must share one dataset; fingerprints: {seen}; train them on one dataset"]
        )


def _check_posters(members: Sequence[Member], dataset: PreparedDataset) -> None:
    """Refuses networks that take posters of another size, or were evaluated on other ones."""
    sizes = {_label(member.record): member.settings.size for member in members}
    if set(sizes.values()) != {dataset.size}:
        seen = ", ".join(f"{label} {size}" for label, size in sizes.items())
        raise ConfigError(
            [f"averaged networks must take posters of {dataset.size} pixels; they take: {seen}"]
        )
    rows = [dataset.indices("val", member.config.max_samples, member.config.seed) for member in members]
    if any(not np.array_equal(rows[0], other) for other in rows):
        raise ConfigError(
            [
                "averaged runs must have used the same validation posters: train them without --limit, or "
                "with the same --limit and the same seed"
            ]
        )


def _mix(members: Sequence[Member], labels: np.ndarray, rule: str) -> tuple[list[float], float]:
    """Returns weights and bias: logit = sum of weight x member's logit / member's temperature, plus bias."""
    if rule == "mean":
        return [1.0 / len(members)] * len(members), 0.0
    fitted = LogisticRegression(C=1.0).fit(np.stack([member.logits for member in members], axis=1), labels)
    return fitted.coef_[0].tolist(), float(fitted.intercept_[0])


def _ensemble_config(name: str, first: ExperimentConfig) -> ExperimentConfig:
    """What the record of an ensemble says: the first run's way of evaluating, and no network of its own.

    Faithfulness is not measured: its check re-initialises layers, and an ensemble has none of its own.
    """
    explain = dataclasses.replace(first.explain, method="auto", layer="", faithfulness_posters=0)
    return dataclasses.replace(
        first, variant=name, model=ModelConfig(family=FAMILY, weights="none"), explain=explain
    )


def _check_network(model: Any, dataset: PreparedDataset, rows: np.ndarray, expected: np.ndarray) -> None:
    """An ensemble that does not compute what its members gave is a bug, and must not be logged."""
    given = predict_logits(model, Samples(dataset.images, rows, dataset.labels(rows)))
    if not np.allclose(given, expected, atol=2e-3):
        raise ValueError(f"the ensemble's logits differ from its members': {given=}, {expected=}")


def _tags(records: Sequence[RunRecord], dataset: PreparedDataset, config: ExperimentConfig) -> dict[str, str]:
    demo = any(record.tags.get("profile") == "demo" for record in records)
    return run_tags(Task(config, dataset, "demo" if demo else "full")) | {
        "weights": ",".join(sorted({record.tags.get("weights", "") for record in records})),
        "backend": records[0].tags.get("backend", ""),
        "precision": "float32",
    }


def _params(
    config: ExperimentConfig, members: Sequence[Member], weights: Sequence[float]
) -> dict[str, object]:
    """The members with their weights, and of the configuration what an ensemble uses."""
    used = ("variant", "protocol", "seed", "max_samples", "model.family")
    params: dict[str, object] = {
        key: value
        for key, value in flatten(config).items()
        if key in used or key.startswith(("evaluate.", "explain."))
    }
    params["ensemble.members"] = len(members)
    for number, (member, weight) in enumerate(zip(members, weights, strict=True), start=1):
        params |= {
            f"ensemble.member_{number}.run_id": member.record.run_id,
            f"ensemble.member_{number}.variant": member.record.variant,
            f"ensemble.member_{number}.seed": member.config.seed,
            f"ensemble.member_{number}.weight": weight,
            f"ensemble.member_{number}.temperature": member.settings.temperature,
        }
    return params


def _label(record: RunRecord) -> str:
    return f"{record.name} {record.run_id[:6]}"
