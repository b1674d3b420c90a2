"""The end of a search: the best settings and the default trained in full, compared, the winner registered."""

from __future__ import annotations

import dataclasses
import gc
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from poster_ml.commands.compare import logged_predictions
from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.promote import run_promote
from poster_ml.commands.train import train_task
from poster_ml.config import SearchSpace, replace
from poster_ml.errors import RegistryError
from poster_ml.evaluation.compare import ComparisonTable, compare
from poster_ml.evaluation.stats import Interval
from poster_ml.pipeline.task import Task
from poster_ml.pipeline.train_log import checkpoint_folder
from poster_ml.pipeline.tune_log import children
from poster_ml.seeding import derive_seed
from poster_ml.serving.registry import CHALLENGER, register_run
from poster_ml.tracking.runs import RunLogger, find_run
from poster_ml.training import checkpoint
from poster_ml.tuning.records import TrialRecord, top
from poster_ml.tuning.sole import sole
from poster_ml.tuning.study import OpenStudy

logger = logging.getLogger(__name__)

DEFAULT = "default"
METRIC = "val_roc_auc"


@dataclass(frozen=True)
class RetrainedSetting:
    """One setting trained in full: its run ids and validation ROC AUCs in the order of the seeds."""

    label: str
    runs: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Retraining:
    """What the end of a search found.

    Attributes:
        finals: the default first, then the promoted trials.
        winner: the one with the highest mean validation ROC AUC.
        run_id: its run with the first seed, which is evaluated on test and registered.
        scores: mean over seeds of every setting, with intervals for other posters and other seeds.
        gain: winner minus default, likewise.
        test: metrics of the winner's run; verdict: what was registered.
    """

    finals: tuple[RetrainedSetting, ...]
    winner: RetrainedSetting
    run_id: str
    scores: ComparisonTable
    gain: Interval
    test: dict[str, float]
    verdict: str

    def text(self) -> str:
        """Returns a small table and the verdict."""
        seeds = len(self.winner.values)
        sure = f"{self.scores.confidence:.0%} for other posters and other seeds"
        lines = [f"{'setting':<14}{METRIC} of {seeds} seeds, {sure}"]
        lines += [f"{score.name:<14}{score.roc_auc.text(4)}" for score in self.scores.settings]
        gain = self.gain.text(4, sign=True)
        lines.append(f"winner: {self.winner.label}, {gain} against the default; run {self.run_id}")
        if "test_roc_auc" in self.test:
            lines.append(f"on test, once: ROC AUC {self.test['test_roc_auc']:.4f}")
        return "\n".join([*lines, self.verdict])


def end_study(
    task: Task, space: SearchSpace, records: Sequence[TrialRecord], parent: RunLogger, opened: OpenStudy
) -> str:
    """Runs the ending, unless another command on the same study runs it now; returns what to print.

    Args:
        task, space, records, parent: as for `retrain_best`.
        opened: the study, whose storage says who ends it.
    """
    with sole(opened.spec.name, opened.storage.optuna) as holder:
        if holder:
            return (
                f"{holder} trains the best settings of this study in full now: repeat the command when that "
                "is done to see the result"
            )
        return retrain_best(task, space, records, parent).text()


def retrain_best(
    task: Task, space: SearchSpace, records: Sequence[TrialRecord], parent: RunLogger
) -> Retraining:
    """Trains the best settings and the default in full, compares them, evaluates and registers the winner.

    Args:
        task: the experiment with its own epochs and all posters.
        space: its `fidelity` says how many settings and seeds.
        records: the trials.
        parent: the study's run; full trainings become its children. Those that are there already are used.

    Raises: TrackingError where another process trains one of them now, which is then left as it is.
    """
    finals = _train_all(task, space, records, parent)
    winner = max(finals, key=lambda final: float(np.mean(final.values)))
    default = next(final for final in finals if final.label == DEFAULT)
    run_id = winner.runs[0]  # named beforehand: the best of its seeds would only be the luckiest
    scores = _compare(finals, parent, task.config.evaluate.confidence)
    gain = scores.difference(winner.label, default.label)
    best = next(score.roc_auc for score in scores.settings if score.name == winner.label)
    parent.log_metrics(
        {
            "final_default_val_roc_auc": float(np.mean(default.values)),
            "final_best_val_roc_auc": best.estimate,
            "final_best_val_roc_auc_ci_low": best.low,
            "final_best_val_roc_auc_ci_high": best.high,
            "final_gain_val_roc_auc": gain.estimate,
            "final_gain_val_roc_auc_ci_low": gain.low,
            "final_gain_val_roc_auc_ci_high": gain.high,
        }
    )
    known = find_run(run_id).metrics
    test = known if "test_roc_auc" in known else run_evaluate(run=run_id, split="test").metrics
    parent.set_tags({"winner.run_id": run_id, "winner.setting": winner.label})
    compared = sum(record.counted for record in records) + sum(len(final.runs) for final in finals)
    verdict = _register(task, run_id, compared)
    ending = Retraining(tuple(finals), winner, run_id, scores, gain, test, verdict)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "ending.txt"
        file.write_text(ending.text() + "\n", encoding="utf-8")
        parent.log_file(file, "final")
    return ending


def settings_to_train(
    space: SearchSpace, records: Sequence[TrialRecord]
) -> list[tuple[str, dict[str, object]]]:
    """Returns (label, overrides) of the default and of the promoted trials, without the trials' fidelity."""
    promoted = [
        (
            f"trial {record.number}",
            {key: value for key, value in record.overrides.items() if key in space.parameters},
        )
        for record in top(records, space.fidelity.promote)
    ]
    return [(DEFAULT, {}), *promoted]


def _train_all(
    task: Task, space: SearchSpace, records: Sequence[TrialRecord], parent: RunLogger
) -> list[RetrainedSetting]:
    _close_dead(parent)
    there = {child.name: child for child in children(parent.run_id) if child.status == "FINISHED"}
    finals = []
    for label, overrides in settings_to_train(space, records):
        runs = []
        for index in range(space.fidelity.seeds):
            name = f"final {label}, seed {index}"
            seed = derive_seed(task.config.seed, "final", index)
            record = there.get(name)
            if record is None:
                logger.info(f"{name}: all posters, {task.config.train.epochs} epochs")
                config = replace(task.config, **{**overrides, "seed": seed})
                again = dataclasses.replace(task, config=config)
                result = train_task(again, name=name, parent_run_id=parent.run_id)
                record = find_run(result.run_id)
                keras.backend.clear_session()  # a dozen networks in one process would add up
                gc.collect()
            runs.append(record)
        values = tuple(run.metrics[METRIC] for run in runs)
        finals.append(RetrainedSetting(label, tuple(run.run_id for run in runs), values))
    return finals


def _close_dead(parent: RunLogger) -> None:
    """Gives full trainings whose process died their true state.

    Raises: TrackingError where one is alive in another process: somebody continues it by hand.
    """
    for child in children(parent.run_id):
        if child.name.startswith("final ") and child.status == "RUNNING":
            with checkpoint.run_lock(checkpoint_folder(child.run_id), ".run"):
                if find_run(child.run_id).status != "RUNNING":
                    continue  # it has ended since it was listed
                RunLogger(child.run_id).set_tags({"error": "the process died; trained again"})
                RunLogger(child.run_id).end("FAILED")


def _compare(finals: Sequence[RetrainedSetting], parent: RunLogger, confidence: float) -> ComparisonTable:
    """Compares the settings on the same validation posters; logs table and figure."""
    records = {final.label: [find_run(run_id) for run_id in final.runs] for final in finals}
    table = compare(
        {label: [logged_predictions(run, "val") for run in runs] for label, runs in records.items()},
        threshold={
            label: [run.metrics.get("threshold", 0.5) for run in runs] for label, runs in records.items()
        },
        confidence=confidence,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "comparison.txt").write_text(table.text() + "\n", encoding="utf-8")
        table.draw(folder / "pairs.png")
        table.frame().to_csv(folder / "pairs.csv", index=False)
        parent.log_folder(folder, "final")
    return table


def _register(task: Task, run_id: str, compared: int) -> str:
    """Registers the winner, and promotes it where it is better than the champion on the test posters."""
    if task.profile == "demo":
        return "the demo's winner is not registered: give --data DIR for real posters"
    version = register_run(run_id, chosen_among=compared)
    if version.alias != CHALLENGER:
        return f"{version.text()}: there was no champion to compare it with"
    try:
        return run_promote(task.config.model.family).text()
    except RegistryError as error:  # a champion of other data, or never evaluated: no reason to lose the end
        return f"{version.text()}: not compared with the champion: {error}"
