"""The end of a search: the best settings and the default trained in full, compared, the winner registered."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from poster_ml.config import replace
from poster_ml.evaluation.comparison import compare_runs
from poster_ml.seeding import derive_seed
from poster_ml.serving.registry import CHALLENGER, register_run
from poster_ml.tracking.runs import RunLogger, RunRecord, find_run
from poster_ml.tuning.records import TrialRecord, top
from poster_ml.tuning.space import SearchSpace
from poster_ml.workflows.evaluate import run_evaluate
from poster_ml.workflows.profile import Task
from poster_ml.workflows.promote import run_promote
from poster_ml.workflows.recorded import fetched
from poster_ml.workflows.train import train_task
from poster_ml.workflows.tune_log import children

logger = logging.getLogger(__name__)

DEFAULT = "default"
METRIC = "val_roc_auc"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Final:
    """One setting trained in full with several seeds.

    `mean`, `low` and `high` are of the validation ROC AUC over seeds (t interval); `runs` are its run ids in
    the order of the seeds, `values` theirs.
    """

    label: str
    runs: tuple[str, ...]
    values: tuple[float, ...]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Ending:
    """What the end of a search found; `gain` is winner minus default, paired by seed: mean, low, high."""

    finals: tuple[Final, ...]
    winner: Final
    run_id: str
    gain: tuple[float, float, float]
    test: dict[str, float]
    verdict: str

    def text(self) -> str:
        """Returns a small table and the verdict."""
        lines = [f"{'setting':<14}{METRIC:>12}   95 % over {len(self.winner.values)} seeds"]
        lines += [
            f"{final.label:<14}{final.mean:>12.4f}   {final.low:.4f} to {final.high:.4f}"
            for final in self.finals
        ]
        gain = "{:+.4f} ({:+.4f} to {:+.4f})".format(*self.gain)
        lines.append(
            f"winner: {self.winner.label}, {gain} against the default, same seeds; run {self.run_id}"
        )
        if "test_roc_auc" in self.test:
            lines.append(f"on test, once: ROC AUC {self.test['test_roc_auc']:.4f}")
        return "\n".join([*lines, self.verdict])


def run_ending(task: Task, space: SearchSpace, records: Sequence[TrialRecord], parent: RunLogger) -> Ending:
    """Trains the best settings and the default in full, compares them, evaluates and registers the winner.

    Args:
        task: the experiment with its own epochs and all posters.
        space: its `fidelity` says how many settings and seeds.
        records: the trials.
        parent: the study's run; full trainings become its children. Those that are there already are used.
    """
    finals = _train_all(task, space, records, parent)
    winner = max(finals, key=lambda final: final.mean)
    default = next(final for final in finals if final.label == DEFAULT)
    gain = interval(np.subtract(winner.values, default.values))
    run_id = winner.runs[int(np.argmax(winner.values))]
    _log_comparison(finals, parent)
    parent.log_metrics(
        {
            "final_default_val_roc_auc": default.mean,
            "final_best_val_roc_auc": winner.mean,
            "final_best_val_roc_auc_ci_low": winner.low,
            "final_best_val_roc_auc_ci_high": winner.high,
            "final_gain_val_roc_auc": gain[0],
            "final_gain_val_roc_auc_ci_low": gain[1],
            "final_gain_val_roc_auc_ci_high": gain[2],
        }
    )
    known = find_run(run_id).metrics
    test = known if "test_roc_auc" in known else run_evaluate(run=run_id, split="test").metrics
    parent.set_tags({"winner.run_id": run_id, "winner.setting": winner.label})
    verdict = _register(task, run_id)
    ending = Ending(tuple(finals), winner, run_id, gain, test, verdict)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "ending.txt"
        file.write_text(ending.text() + "\n", encoding="utf-8")
        parent.log_file(file, "final")
    return ending


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Returns (mean, low, high) of the t interval; without width where there is one value only."""
    numbers = np.asarray(values, dtype="float64")
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, mean, mean
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(numbers) - 1) * stats.sem(numbers))
    return mean, mean - half, mean + half


def settings_to_train(
    space: SearchSpace, records: Sequence[TrialRecord]
) -> list[tuple[str, dict[str, object]]]:
    """Returns (label, overrides) of the default and of the promoted trials, without the trials' fidelity."""
    keys = {parameter.key for parameter in space.parameters}
    promoted = [
        (f"trial {record.number}", {key: value for key, value in record.overrides.items() if key in keys})
        for record in top(records, space.fidelity.promote)
    ]
    return [(DEFAULT, {}), *promoted]


def _train_all(
    task: Task, space: SearchSpace, records: Sequence[TrialRecord], parent: RunLogger
) -> list[Final]:
    there = {child.name: child for child in children(parent.run_id) if child.status == "FINISHED"}
    for child in children(parent.run_id):
        if child.name.startswith("final ") and child.status == "RUNNING":
            RunLogger(child.run_id).set_tags({"error": "the process died; trained again"})
            RunLogger(child.run_id).end("FAILED")
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
                result = train_task(
                    Task(config, task.data, task.profile), name=name, parent_run_id=parent.run_id
                )
                record = find_run(result.run_id)
            runs.append(record)
        values = tuple(run.metrics[METRIC] for run in runs)
        finals.append(Final(label, tuple(run.run_id for run in runs), values, *interval(values)))
    return finals


def _log_comparison(finals: Sequence[Final], parent: RunLogger) -> None:
    """Compares all full trainings on the same validation posters and logs table and figure."""
    frames: dict[str, pd.DataFrame] = {}
    thresholds: dict[str, float] = {}
    variants: dict[str, str] = {}
    for final in finals:
        for index, run_id in enumerate(final.runs):
            name = f"{final.label}, seed {index}"
            record: RunRecord = find_run(run_id)
            with fetched(run_id, "evaluation/val/predictions.csv") as file:
                frames[name] = pd.read_csv(file, dtype={"movie_id": str})
            thresholds[name] = record.metrics.get("threshold", 0.5)
            variants[name] = final.label
    table = compare_runs(
        frames, threshold=thresholds, repeats=1000, confidence=CONFIDENCE, seed=0, variants=variants
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "comparison.txt").write_text(table.text() + "\n", encoding="utf-8")
        table.draw_runs(folder / "runs.png")
        table.runs_frame().to_csv(folder / "runs.csv", index=False)
        parent.log_folder(folder, "final")


def _register(task: Task, run_id: str) -> str:
    """Registers the winner, and promotes it where it is better than the champion."""
    if task.profile == "demo":
        return "the demo's winner is not registered: give --data DIR for real posters"
    version = register_run(run_id)
    if version.alias != CHALLENGER:
        return f"{version.text()}: there was no champion to compare it with"
    return run_promote(task.config.model.family).text()
