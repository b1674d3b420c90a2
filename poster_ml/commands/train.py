"""`poster-ml train`: one run, from a configuration to a logged, evaluated, explained model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from poster_ml.config import ExperimentConfig
from poster_ml.data.folds import open_fold
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.baselines import majority_accuracy
from poster_ml.evaluation.plots import draw_training_curves
from poster_ml.pipeline.evaluate import EvaluationReport, evaluate_split, fit_decision_rule
from poster_ml.pipeline.explain import explain_split
from poster_ml.pipeline.fit import fit_model
from poster_ml.pipeline.reference import training_neighbours
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task, choose_dataset, recorded_task, resolve_task, run_tags
from poster_ml.pipeline.train_log import (
    checkpoint_folder,
    locked_run,
    log_fit,
    log_network,
    log_task,
    say_how_to_continue,
    validation_lines,
)
from poster_ml.tracking.store import connect
from poster_ml.tracking.views import say_view


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
        kept = f"epoch {self.best_epoch} of {self.epochs} kept, {self.seconds:.0f} s"
        first = f"{self.variant} ({self.profile}): run {self.run_id}, {kept}"
        return "\n".join([first, *validation_lines(self.run_id, self.metrics)])


def run_train(
    config: ExperimentConfig,
    named: PreparedDataset | None = None,
    overrides: Sequence[str] = (),
    fold: str = "",
) -> TrainResult:
    """Trains one variant and logs everything about it.

    Args:
        config: as checked by `preflight.check_training`.
        named: the dataset; None takes `data/prepared`, or the demo profile where that is missing.
        overrides: "key=value" each that `config` holds already: the demo profile leaves them as they are.
        fold: "K/N" replaces the dataset's splits by those of a fold, see `data.folds.open_fold`.

    Returns: the run's id and its validation metrics.

    Raises: DatasetError, WeightsError, UnknownLayerError, TrackingError.
    """
    connect(write=True)
    result = train_task(_named_task(config, named, overrides, fold))
    say_view()
    return result


def train_along(
    config: ExperimentConfig, named: PreparedDataset | None, overrides: Sequence[str] = (), fold: str = ""
) -> None:
    """Trains with process 0 of several, which logs the run, on this process's share of every batch.

    Args, and errors, as of `run_train`.
    """
    task = _named_task(config, named, overrides, fold)
    with TemporaryDirectory() as temporary:
        fit_model(task.config, task.dataset, folder=Path(temporary))


def _named_task(
    config: ExperimentConfig, named: PreparedDataset | None, overrides: Sequence[str], fold: str
) -> Task:
    dataset, profile = choose_dataset(named)
    return resolve_task(config, open_fold(dataset, fold) if fold else dataset, profile, overrides)


def resume_train(run_id: str, model: str = "", protocol: str = "") -> TrainResult:
    """Continues an interrupted run with its own configuration and data; returns what `run_train` returns.

    Args:
        run_id: of the run.
        model, protocol: where given, they must be the run's own.

    Raises: TrackingError, DatasetError, ConfigError.
    """
    connect(write=True)
    result = train_task(recorded_task(run_id, model, protocol), run_id=run_id)
    say_view()
    return result


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
    with locked_run(run_name, all_tags, run_id, parent_run_id) as run, TemporaryDirectory() as temporary:
        folder = Path(temporary)
        log_task(run, task)
        say_how_to_continue(run.run_id, parent_run_id)
        trained = fit_model(
            config,
            dataset,
            folder=checkpoint_folder(run.run_id),
            on_epoch=lambda epoch, metrics: run.log_metrics(metrics, step=epoch),
        )
        log_fit(run, trained)

        labels, logits = dataset.labels(trained.validation_indices), trained.validation_logits
        decision_rule = fit_decision_rule(logits, labels, config.evaluate)
        result = evaluate_split(dataset, "val", config, decision_rule, {"val": logits}, folder)
        explained = explain_split(trained.model, dataset, "val", config, decision_rule, logits, folder)
        evaluation = EvaluationReport("val", result, *explained, folder)

        neighbours = training_neighbours(trained, config, dataset)
        log_network(run, trained.model, config, dataset, decision_rule, logits, neighbours)
        run.log_results(evaluation.metrics())
        draw_training_curves(
            folder / "curves" / "accuracy_loss.png",
            trained.fit.history,
            best_epoch=trained.fit.best_epoch,
            majority_accuracy=majority_accuracy(labels),
            title=config.variant,
        )
        write_report(folder, run.run_id, evaluation, config, dataset, task.profile)
        run.log_folder(folder)
    return TrainResult(
        run_id=run.run_id,
        variant=config.variant,
        profile=task.profile,
        best_epoch=trained.fit.best_epoch,
        epochs=len(trained.fit.history),
        seconds=time.perf_counter() - started,
        metrics=evaluation.metrics(),
    )
