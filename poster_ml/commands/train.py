"""`poster-ml train`: one run, from a configuration to a logged, evaluated, explained model."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import TrackingError
from poster_ml.evaluation.curves import draw_training_curves
from poster_ml.models.freezing import trainable_summary
from poster_ml.pipeline.evaluate import DecisionRule, EvaluationReport, evaluate_split, fit_decision_rule
from poster_ml.pipeline.explain import explain_split
from poster_ml.pipeline.features import WORKPLACE, precompute_frozen_features
from poster_ml.pipeline.fit import TrainedModel, build_untrained, fit_network, trained_model
from poster_ml.pipeline.records import recorded_config, recorded_dataset
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task, choose_dataset, resolve_task, run_tags
from poster_ml.serving.log import log_poster_model
from poster_ml.tracking.runs import RunLogger, find_run, open_run
from poster_ml.tracking.store import connect
from poster_ml.training import checkpoint
from poster_ml.training.devices import shared_batches
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
    config: ExperimentConfig, named: PreparedDataset | None = None, overrides: Sequence[str] = ()
) -> TrainResult:
    """Trains one variant and logs everything about it.

    Args:
        config: as checked by `preflight.check_training`.
        named: the dataset; None takes `data/prepared`, or the demo profile where that is missing.
        overrides: "key=value" each that `config` holds already: the demo profile leaves them as they are.

    Returns: the run's id and its validation metrics.

    Raises: DatasetError, WeightsError, UnknownLayerError, TrackingError.
    """
    connect(write=True)
    dataset, profile = choose_dataset(named)
    return train_task(resolve_task(config, dataset, profile, overrides))


def resume_train(run_id: str, model: str = "", protocol: str = "") -> TrainResult:
    """Continues an interrupted run with its own configuration and data; returns what `run_train` returns.

    Args:
        run_id: of the run.
        model, protocol: where given, they must be the run's own.

    Raises: TrackingError, DatasetError, ConfigError.
    """
    connect(write=True)
    return train_task(_recorded_task(run_id, model, protocol), run_id=run_id)


def train_task(
    task: Task,
    *,
    run_id: str | None = None,
    name: str = "",
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> TrainResult:
    """The whole of a training, in one MLflow run: fit, calibrate, evaluate, explain, log.

    Args:
        task: configuration, dataset and profile.
        run_id: a run to continue.
        name: of a new run; default: the variant.
        parent_run_id: the run it is shown under.
        tags: more tags for the run.

    Raises: TrackingError where another process trains the run now, which is then left as it is.
    """
    config, dataset, started = task.config, task.dataset, time.perf_counter()
    run_name, all_tags = name or config.variant, run_tags(task) | dict(tags or {})
    with (
        _locked_run(run_id, run_name, all_tags, parent_run_id) as run,
        TemporaryDirectory() as temporary,
    ):
        folder, checkpoints = Path(temporary), checkpoint_folder(run.run_id)
        _log_task(run, task)

        with shared_batches(config.train.batch_size):
            untrained = build_untrained(config, dataset)
            features = precompute_frozen_features(untrained, config)
            fitted = fit_network(features, config, dataset, folder=checkpoints, on_epoch=_epoch_logger(run))
        trained = trained_model(untrained, fitted, config)
        _log_fit(run, trained)

        labels, logits = dataset.labels(trained.validation_indices), trained.validation_logits
        decision_rule = fit_decision_rule(logits, labels, config.evaluate)
        result = evaluate_split(dataset, "val", config, decision_rule, {"val": logits}, folder)
        explained = explain_split(trained.model, dataset, "val", config, decision_rule, logits, folder)
        evaluation = EvaluationReport("val", result, *explained, folder)

        _log_model(run, task, trained, decision_rule)
        run.log_results(evaluation.metrics())
        _draw_curves(folder, config.variant, trained, labels)
        write_report(folder, run.run_id, evaluation, config, dataset, task.profile)
        run.log_folder(folder)
    return TrainResult(
        run_id=run.run_id,
        variant=config.variant,
        profile=task.profile,
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history),
        seconds=time.perf_counter() - started,
        metrics=evaluation.metrics(),
    )


def checkpoint_folder(run_id: str) -> Path:
    """Returns where a run keeps its checkpoints while it trains."""
    return WORKPLACE / "checkpoints" / run_id


@contextmanager
def _locked_run(
    run_id: str | None, name: str, tags: Mapping[str, str], parent_run_id: str | None
) -> Iterator[RunLogger]:
    """Opens a run that no other process has until the block ends; its checkpoints go when it ends well.

    Raises: TrackingError where another process has the run, or has just finished it.
    """
    with ExitStack() as held:
        if run_id is not None:  # before the run is touched: it may be alive in another process
            _lock_run(held, run_id)
        with open_run(name, tags=tags, run_id=run_id, parent_run_id=parent_run_id) as run:
            if run_id is None:
                _lock_run(held, run.run_id)
            yield run
        shutil.rmtree(checkpoint_folder(run.run_id), ignore_errors=True)


def _lock_run(held: ExitStack, run_id: str) -> None:
    held.enter_context(checkpoint.run_lock(checkpoint_folder(run_id), ".run"))
    if find_run(run_id).status == "FINISHED":
        raise TrackingError(f"run {run_id} was finished by another process just now: nothing to do")


def _log_task(run: RunLogger, task: Task) -> None:
    run.log_config(task.config)
    run.log_params({"data": str(task.dataset.folder)})
    run.log_dataset(task.dataset.index, task.dataset.folder, task.dataset.fingerprint, "training")


def _epoch_logger(run: RunLogger) -> OnEpoch:
    def log(epoch: int, metrics: dict[str, float]) -> None:
        run.log_metrics(metrics, step=epoch)

    return log


def _log_fit(run: RunLogger, trained: TrainedModel) -> None:
    """Logs what the training was, epochs that an earlier process had finished included."""
    history, best = trained.fit.history, trained.fit.best_epoch
    run.set_tags({"precision": trained.precision})
    run.fill_epochs(history)
    run.log_metrics(
        {
            "best_epoch_accuracy": history[best - 1]["accuracy"],
            "best_epoch": best,
            "epochs": len(history),
            **trainable_summary(trained.model),
        }
    )


def _log_model(run: RunLogger, task: Task, trained: TrainedModel, decision_rule: DecisionRule) -> None:
    """Logs the model that is served, and the decision rule that goes with it."""
    config, dataset = task.config, task.dataset
    run.log_metrics(asdict(decision_rule))
    logger.info("logging the model")
    log_poster_model(
        trained.model,
        size=dataset.size,
        fit=dataset.manifest["options"]["fit"],
        threshold=decision_rule.threshold,
        temperature=decision_rule.temperature,
        variant=config.variant,
        family=config.model.family,
        explain_method=config.explain.method,
        explain_layer=config.explain.layer,
    )


def _draw_curves(folder: Path, variant: str, trained: TrainedModel, labels: np.ndarray) -> None:
    """Draws the epochs beside what the larger class of the validation labels (n,) alone would give."""
    draw_training_curves(
        folder / "curves" / "accuracy_loss.png",
        trained.fit.history,
        best_epoch=trained.fit.best_epoch,
        majority_accuracy=float(max(labels.mean(), 1 - labels.mean())),
        title=variant,
    )


def _recorded_task(run_id: str, model: str, protocol: str) -> Task:
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
    config, dataset = recorded_config(record), recorded_dataset(record)
    dataset.verify()
    return Task(config, dataset, record.tags.get("profile", "full"))
