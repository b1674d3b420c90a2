"""`poster-ml train`: one run, from a configuration to a logged, evaluated, explained model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.pipeline.evaluate import EvaluationReport, ScoredModel, evaluate_split, fit_decision_rule
from poster_ml.pipeline.explain import explain_split
from poster_ml.pipeline.fit import fit_model
from poster_ml.pipeline.neighbours import training_neighbours
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task, choose_dataset, recorded_task, resolve_task
from poster_ml.pipeline.train_log import (
    TrainResult,
    checkpoint_folder,
    draw_curves,
    log_fit,
    log_network,
    training_run,
)
from poster_ml.tracking.store import connect
from poster_ml.tracking.views import say_view

logger = logging.getLogger(__name__)


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
    result = train_task(resolve_task(config, *choose_dataset(named, fold), overrides))
    say_view()
    return result


def train_along(
    config: ExperimentConfig, named: PreparedDataset | None, overrides: Sequence[str] = (), fold: str = ""
) -> None:
    """Trains with process 0 of several, which logs the run, on this process's share of every batch.

    Args, and errors, as of `run_train`.
    """
    task = resolve_task(config, *choose_dataset(named, fold), overrides)
    with TemporaryDirectory() as temporary:
        fit_model(task.config, task.dataset, folder=Path(temporary))


def resume_train(run_id: str, model: str = "", protocol: str = "") -> TrainResult:
    """Continues an interrupted run with its own configuration and data; returns what `run_train` returns.

    Args:
        run_id: of the run.
        model, protocol: where given, they must be the run's own.

    Raises: TrackingError, DatasetError, ConfigError.
    """
    connect(write=True)
    result = train_task(recorded_task(run_id, model, protocol))
    say_view()
    return result


def train_task(task: Task) -> TrainResult:
    """The whole of a training, in one MLflow run: fit, calibrate, evaluate, explain, log.

    Raises: TrackingError where another process trains the run now, which is then left as it is.
    """
    config, dataset, started = task.config, task.dataset, time.perf_counter()
    with training_run(task) as run, run.results() as folder:
        if task.parent_run_id is None:  # a suite's run is continued by calling the suite again
            logger.info(f"after an interruption: poster-ml train --resume {run.run_id}")
        trained = fit_model(
            config,
            dataset,
            folder=checkpoint_folder(run.run_id),
            on_epoch=lambda epoch, metrics: run.log_metrics(metrics, step=epoch),
        )
        log_fit(run, trained.fitted)
        labels, logits = trained.fitted.validation.labels, trained.validation_logits
        rule = fit_decision_rule(logits, labels, config.evaluate)
        scored = ScoredModel(trained.model, dataset, config, rule, {"val": logits})
        result = evaluate_split(scored, "val", folder)
        evaluation = EvaluationReport("val", result, *explain_split(scored, "val", folder))

        log_network(run, scored, training_neighbours(trained, config, dataset))
        run.log_results(evaluation.metrics())
        draw_curves(trained.fitted, folder, config.variant)
        write_report(folder, run.run_id, evaluation, task)
    fit = trained.fitted.fit
    return TrainResult(
        run_id=run.run_id,
        variant=config.variant,
        profile=task.profile,
        best_epoch=fit.best_epoch,
        epochs=len(fit.history),
        seconds=time.perf_counter() - started,
        metrics=evaluation.metrics(),
    )
