"""`poster-ml ensemble`: several trained networks averaged into one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from poster_ml.config import ExperimentConfig, ModelConfig, flatten, to_yaml
from poster_ml.errors import ConfigError
from poster_ml.models.ensemble import build_ensemble
from poster_ml.pipeline.evaluate import EvaluationReport, ScoredModel, evaluate_split, fit_decision_rule
from poster_ml.pipeline.explain import explain_split
from poster_ml.pipeline.members import Member, load_members, mix
from poster_ml.pipeline.neighbours import joined_neighbours
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task, run_tags
from poster_ml.pipeline.train_log import log_network, validation_lines
from poster_ml.tracking.runs import open_run
from poster_ml.tracking.store import connect

FAMILY: Final = "ensemble"


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
        first = [f"{self.name}: run {self.run_id}", f"  {parts}"]
        return "\n".join(first + validation_lines(self.run_id, self.metrics))


def run_ensemble(
    runs: Sequence[str], *, name: str = "ensemble", rule: str = "mean", data: Path | None = None
) -> EnsembleResult:
    """Averages the networks of trained runs, evaluates the ensemble on validation and logs it.

    Args:
        runs: ids of two or more training runs, on the same dataset.
        name: of the run and its variant.
        rule: "mean" gives every network the same weight on its temperature-scaled logit, and
            nothing is fitted but one temperature. "fitted" takes the weights of a logistic
            regression (L2 penalty, C = 1) of the validation labels on those logits: its validation
            metrics are then a little too good.
        data: a prepared dataset; None takes the one that the first run was trained on.

    Raises: ConfigError for runs that do not go together; TrackingError, DatasetError, RegistryError.
    """
    chosen = list(dict.fromkeys(runs))
    if len(chosen) < 2:
        raise ConfigError([f"ensemble needs at least two different runs, received {', '.join(chosen)}"])
    if not name.strip():
        raise ConfigError(["--name is empty: give the run and its variant a name"])
    connect(write=True)
    members, dataset = load_members(chosen, data)
    config = _ensemble_config(name, members[0].scored.config)
    labels = dataset.labels(dataset.indices("val", config.max_samples, config.seed))
    weights, bias = mix(members, labels, rule)
    factors = [weight / one.scored.rule.temperature for weight, one in zip(weights, members, strict=True)]
    model = build_ensemble([member.scored.model for member in members], factors, bias)
    logits = np.array(weights) @ np.stack([member.logits for member in members]) + bias

    tags = [member.record.tags for member in members]
    task = Task(config, dataset, "demo" if any(one.get("profile") == "demo" for one in tags) else "full")
    own = {
        "weights": ",".join(sorted({one.get("weights", "") for one in tags})),
        "backend": tags[0].get("backend", ""),
        "precision": "float32",
    }
    with open_run(name, tags=run_tags(task) | own) as run, run.results() as folder:
        made_of = {"ensemble.rule": rule, "ensemble.bias": bias, "data": str(dataset.folder)}
        run.log_params(_params(config, members, weights) | made_of)
        run.log_dataset(dataset, "averaging")
        run.log_metrics({"parameters": model.count_params()})
        decision_rule = fit_decision_rule(logits, labels, config.evaluate)
        scored = ScoredModel(model, dataset, config, decision_rule, {"val": logits})
        log_network(run, scored, joined_neighbours([member.neighbours for member in members]))
        result = evaluate_split(scored, "val", folder)
        evaluation = EvaluationReport("val", result, *explain_split(scored, "val", folder))
        run.log_results(evaluation.metrics())
        write_report(folder, run.run_id, evaluation, task)
        (folder / "experiment.yaml").write_text(to_yaml(config), encoding="utf-8")
    shares = dict(zip([member.label for member in members], weights, strict=True))
    return EnsembleResult(run.run_id, name, shares, evaluation.metrics())


def _ensemble_config(name: str, first: ExperimentConfig) -> ExperimentConfig:
    """What the record of an ensemble says: the first run's way of evaluating, and no network of its own.

    Faithfulness is not measured: its check re-initialises layers, and an ensemble has none of its own.
    """
    explain = dataclasses.replace(first.explain, method="auto", layer="", faithfulness_posters=0)
    return dataclasses.replace(
        first, variant=name, model=ModelConfig(family=FAMILY, weights="none"), explain=explain
    )


def _params(
    config: ExperimentConfig, members: Sequence[Member], weights: Sequence[float]
) -> dict[str, object]:
    """The members with their weights, and of the configuration what an ensemble uses."""
    used = ("variant", "protocol", "seed", "max_samples", "model.family", "evaluate.", "explain.")
    params: dict[str, object] = {key: value for key, value in flatten(config).items() if key.startswith(used)}
    params["ensemble.members"] = len(members)
    for number, (member, weight) in enumerate(zip(members, weights, strict=True), start=1):
        about = member.about() | {"weight": weight}
        params |= {f"ensemble.member_{number}.{key}": value for key, value in about.items()}
    return params
