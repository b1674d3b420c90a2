"""`poster-ml train`: one run, from a configuration to a logged, evaluated, explained model."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import TrackingError
from poster_ml.evaluation.curves import draw_training_curves
from poster_ml.models.freezing import trainable_summary
from poster_ml.pipeline.evaluate import DecisionRule, EvaluationReport, evaluate_split, fit_decision_rule
from poster_ml.pipeline.fit import WORKPLACE, TrainedModel, fit_model
from poster_ml.pipeline.records import recorded_config, recorded_dataset
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task, resolve_task, run_tags
from poster_ml.serving.log import log_poster_model
from poster_ml.tracking.runs import RunLogger, find_run, open_run
from poster_ml.tracking.store import connect
from poster_ml.training import checkpoint
from poster_ml.training.fit import OnEpoch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What `train` returns: where the run is, and its validation metrics."""

    run_id: str
    variant: str
    profile: str
    best_epoch: int
    epochs: int
    seconds: float
    metrics: dict[str, float]

    def text(self) -> str:
        """Returns the numbers that matter, with their intervals."""
        lines = [
            f"{self.variant} ({self.profile}): run {self.run_id}, "
            f"epoch {self.best_epoch} of {self.epochs} kept, {self.seconds:.0f} s"
        ]
        for name in ("val_accuracy", "val_roc_auc", "val_log_loss"):
            low, high = self.metrics[f"{name}_ci_low"], self.metrics[f"{name}_ci_high"]
            lines.append(f"  {name:<24}{self.metrics[name]:.4f}  ({low:.4f} to {high:.4f})")
        lines.append(f"  {'val_majority_accuracy':<24}{self.metrics['val_majority_accuracy']:.4f}")
        lines.append(f"next: poster-ml evaluate --run {self.run_id}")
        return "\n".join(lines)


def run_train(
    *,
    model: str = "",
    data: Path | None = None,
    experiment: Path | None = None,
    overrides: Sequence[str] = (),
    resume: str = "",
    protocol: str = "",
) -> TrainResult:
    """Trains one variant and logs everything about it.

    Args:
        model: a variant, as under `experiments/`.
        data: a prepared dataset; None takes `data/prepared`, or the demo profile where that is missing.
        experiment: a YAML file instead of the variant's own.
        overrides: "key=value" each.
        resume: the id of a run to continue; its own configuration and data are used.
        protocol: which of the variant's two files, `sound` (also where empty) or `study`.

    Returns: the run's id and its validation metrics.

    Raises: ConfigError, DatasetError, WeightsError, TrackingError.
    """
    connect(write=True)
    if resume:
        return train_task(_resume_task(resume, model, protocol), run_id=resume)
    return train_task(resolve_task(model, data, experiment, overrides, protocol))


def train_task(
    task: Task,
    *,
    run_id: str | None = None,
    name: str = "",
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> TrainResult:
    """Runs one task: training, validation, model, report; all of it in one MLflow run.

    Args:
        task: configuration, dataset and profile.
        run_id: a run to continue.
        name: of a new run; default: the variant.
        parent_run_id: the run it is shown under.
        tags: more tags for the run.

    Raises: TrackingError where another process trains the run now, which is then left as it is.
    """
    config, dataset = task.config, PreparedDataset.open(task.data)
    dataset.verify()
    started = time.perf_counter()
    all_tags = run_tags(task, dataset) | dict(tags or {})
    with ExitStack() as held:
        if run_id is not None:  # before the run is touched: it may be alive in another process
            _lock_run(held, run_id)
        with open_run(
            name or config.variant, tags=all_tags, run_id=run_id, parent_run_id=parent_run_id
        ) as run:
            if run_id is None:
                _lock_run(held, run.run_id)
            run.log_config(config)
            run.log_params({"data": str(task.data)})
            run.log_dataset(dataset.index, task.data, dataset.fingerprint, "training")
            checkpoints = checkpoint_folder(run.run_id)
            candidate = fit_model(config, dataset, folder=checkpoints, on_epoch=_epoch_logger(run))
            run.set_tags({"precision": candidate.precision})
            run.fill_epochs(candidate.fit.history)
            with tempfile.TemporaryDirectory() as temporary:
                evaluation = finish(run, task, dataset, candidate, Path(temporary))
        shutil.rmtree(checkpoints, ignore_errors=True)
    return TrainResult(
        run_id=run.run_id,
        variant=config.variant,
        profile=task.profile,
        best_epoch=candidate.fit.best_epoch,
        epochs=len(candidate.fit.history),
        seconds=time.perf_counter() - started,
        metrics=evaluation.metrics(),
    )


def checkpoint_folder(run_id: str) -> Path:
    """Returns where a run keeps its checkpoints while it trains."""
    return WORKPLACE / "checkpoints" / run_id


def _lock_run(held: ExitStack, run_id: str) -> None:
    """Takes a run for this process until `held` ends, evaluating and logging included.

    Raises: TrackingError where another process has it, or has just finished it.
    """
    held.enter_context(checkpoint.run_lock(checkpoint_folder(run_id), ".run"))
    if find_run(run_id).status == "FINISHED":
        raise TrackingError(f"run {run_id} was finished by another process just now: nothing to do")


def finish(
    run: RunLogger, task: Task, dataset: PreparedDataset, candidate: TrainedModel, folder: Path
) -> EvaluationReport:
    """Evaluates a trained network on validation; logs curves, evaluation, explanation, model and report."""
    config = task.config
    labels = dataset.labels(candidate.validation_indices)
    decision_rule = fit_decision_rule(candidate.validation_logits, labels, config.evaluate)
    log_network(run, task, dataset, candidate, decision_rule)
    majority = max(labels.mean(), 1 - labels.mean())
    draw_training_curves(
        folder / "curves" / "accuracy_loss.png",
        candidate.fit.history,
        best_epoch=candidate.fit.best_epoch,
        majority_accuracy=float(majority),
        title=config.variant,
    )
    known = {"val": candidate.validation_logits}
    evaluation = evaluate_split(candidate.model, dataset, "val", config, decision_rule, folder, known)
    run.log_results(evaluation.metrics())
    write_report(folder, run.run_id, evaluation, config, dataset, task.profile)
    run.log_folder(folder)
    return evaluation


def log_network(
    run: RunLogger, task: Task, dataset: PreparedDataset, candidate: TrainedModel, decision_rule: DecisionRule
) -> None:
    """Logs the model that is served, and the numbers that go with it."""
    config = task.config
    kept = candidate.fit.history[candidate.fit.best_epoch - 1]
    run.log_metrics(
        {
            "best_epoch_accuracy": kept["accuracy"],
            "best_epoch": candidate.fit.best_epoch,
            "epochs": len(candidate.fit.history),
            "temperature": decision_rule.temperature,
            "threshold": decision_rule.threshold,
            **trainable_summary(candidate.model),
        }
    )
    logger.info("logging the model")
    log_poster_model(
        candidate.model,
        size=dataset.size,
        fit=dataset.manifest["options"]["fit"],
        threshold=decision_rule.threshold,
        temperature=decision_rule.temperature,
        variant=config.variant,
        family=config.model.family,
        explain_method=config.explain.method,
        explain_layer=config.explain.layer,
    )


def _epoch_logger(run: RunLogger) -> OnEpoch:
    def log(epoch: int, metrics: dict[str, float]) -> None:
        run.log_metrics(metrics, step=epoch)

    return log


def _resume_task(run_id: str, model: str, protocol: str) -> Task:
    """Finds the configuration and data that a run was started with; refuses options that contradict it."""
    record = find_run(run_id)
    for option, wanted, tag in (("model", model, "variant"), ("protocol", protocol, "protocol")):
        own = record.tags.get(tag, "")
        if wanted and own and wanted != own:
            raise TrackingError(
                f"run {run_id} is a run of {own!r}, but --{option} says {wanted!r}: leave --{option} out "
                f"(with `mlflow run` give -P {option}={own}), or start a new run without --resume"
            )
    if record.status == "FINISHED":
        raise TrackingError(f"run {run_id} is finished: nothing to resume; start a new run with `train`")
    if "data" not in record.params:
        raise TrackingError(f"run {run_id} is no training run: give the id of one that `train` started")
    config = recorded_config(record)
    return Task(config, recorded_dataset(record).folder, record.tags.get("profile", "full"))
