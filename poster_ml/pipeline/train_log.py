"""The run of a training: locked against others, and what it logs of the task and the network."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from poster_ml.errors import TrackingError
from poster_ml.evaluation.baselines import majority_accuracy
from poster_ml.evaluation.plots import draw_training_curves
from poster_ml.evaluation.stats import with_interval
from poster_ml.models.freezing import trainable_summary
from poster_ml.pipeline.evaluate import ScoredModel
from poster_ml.pipeline.features import WORKPLACE
from poster_ml.pipeline.fit import FittedNetwork
from poster_ml.pipeline.task import Task, run_tags
from poster_ml.serving.log import log_poster_model
from poster_ml.serving.reference import Neighbours
from poster_ml.tracking.runs import RunLogger, find_run, open_run
from poster_ml.training.checkpoint import run_lock

logger = logging.getLogger(__name__)


def checkpoint_folder(run_id: str) -> Path:
    """Returns where a run keeps its checkpoints while it trains."""
    return WORKPLACE / "checkpoints" / run_id


@contextmanager
def training_run(task: Task) -> Iterator[RunLogger]:
    """Opens the run of a task, which no other process has until the block ends, and logs the task.

    The checkpoints of the run go when the block ends well.

    Raises: TrackingError where another process has the run, or has just finished it.
    """
    name, run_id = task.name or task.config.variant, task.run_id
    with ExitStack() as held:
        if run_id is not None:  # before the run is touched: it may be alive in another process
            held.enter_context(run_lock(checkpoint_folder(run_id), ".run"))
            if find_run(run_id).status == "FINISHED":
                raise TrackingError(f"run {run_id} was finished by another process just now: nothing to do")
        with open_run(name, tags=run_tags(task), run_id=run_id, parent_run_id=task.parent_run_id) as run:
            if run_id is None:
                held.enter_context(run_lock(checkpoint_folder(run.run_id), ".run"))
            run.log_config(task.config)
            run.log_params({"data": str(task.dataset.folder)})
            run.log_dataset(task.dataset, "training")
            yield run
        shutil.rmtree(checkpoint_folder(run.run_id), ignore_errors=True)


def log_fit(run: RunLogger, trained: FittedNetwork) -> None:
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


def draw_curves(fitted: FittedNetwork, folder: Path, title: str) -> None:
    """Draws `curves/accuracy_loss.png`: the epochs, the kept one, and validation's majority."""
    draw_training_curves(
        folder / "curves" / "accuracy_loss.png",
        fitted.fit.history,
        best_epoch=fitted.fit.best_epoch,
        majority_accuracy=majority_accuracy(fitted.validation.labels),
        title=title,
    )


def log_network(run: RunLogger, scored: ScoredModel, neighbours: Neighbours | None) -> None:
    """Logs the model that is served, with its decision rule and its reference.

    Args:
        run: that takes it.
        scored: with the logits of the validation posters.
        neighbours: the training posters as the network sees them; None where that was left out.
    """
    config, dataset = scored.config, scored.dataset
    run.log_metrics(asdict(scored.rule))
    logger.info("logging the model")
    log_poster_model(
        scored.model,
        size=dataset.size,
        reference=scored.reference(neighbours),
        fit=dataset.manifest["options"]["fit"],
        **asdict(scored.rule),
        variant=config.variant,
        family=config.model.family,
        explain_method=config.explain.method,
        explain_layer=config.explain.layer,
    )


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


def validation_lines(run_id: str, metrics: Mapping[str, float]) -> list[str]:
    """Returns the validation metrics that matter, with their intervals, and the next command."""
    names = ("val_accuracy", "val_roc_auc", "val_log_loss", "val_majority_accuracy")
    lines = [f"  {name:<24}{with_interval(metrics, name, digits=4)}" for name in names]
    return [*lines, f"next: poster-ml evaluate --run {run_id}"]
