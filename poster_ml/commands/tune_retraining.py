"""The end of a search: the best settings and the default trained in full, compared, the winner registered."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

import keras
import numpy as np
import pandas as pd

from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.promote import run_promote
from poster_ml.commands.train import train_task
from poster_ml.config import replace
from poster_ml.errors import RegistryError
from poster_ml.evaluation.stats import Interval
from poster_ml.pipeline.comparison import compare_runs
from poster_ml.pipeline.task import Task
from poster_ml.pipeline.tune_log import children
from poster_ml.search_space import SearchSpace
from poster_ml.seeding import derive_seed
from poster_ml.serving.registry import CHALLENGER, register_run
from poster_ml.tracking.runs import RunLogger, RunRecord, find_run
from poster_ml.tuning.results import best_trials, counted_trials
from poster_ml.tuning.space import overrides

logger = logging.getLogger(__name__)

DEFAULT = "default"
METRIC = "val_roc_auc"


def retrain_best(task: Task, space: SearchSpace, table: pd.DataFrame, parent: RunLogger) -> str:
    """Trains the best settings and the default in full, compares them, evaluates and registers the winner.

    Args:
        task: the experiment with its own epochs and all posters.
        space: its `fidelity` says how many settings and seeds.
        table: the trials, of `trials_table`.
        parent: the study's run; full trainings become its children. Those that are there already
            are used, one that was interrupted is continued.

    Returns: a small table and the verdict.
    Raises: TrackingError where another process trains one of them now.
    """
    settings: dict[str, dict[str, object]] = {DEFAULT: {}} | {
        f"trial {trial['number']}": overrides(space, trial)
        for trial in best_trials(table, space.fidelity.promote)
    }
    seeds = [derive_seed(task.config.seed, "final", index) for index in range(space.fidelity.seeds)]
    runs = {
        label: [
            _trained(task, {**setting, "seed": seed}, f"final {label}, seed {index}", parent)
            for index, seed in enumerate(seeds)
        ]
        for label, setting in settings.items()
    }
    means = {label: float(np.mean([run.metrics[METRIC] for run in some])) for label, some in runs.items()}
    winner = max(means, key=lambda label: means[label])
    chosen = runs[winner][0]  # named beforehand: the best of its seeds would only be the luckiest
    scores = compare_runs(runs, task.config.evaluate.confidence)
    gain = scores.difference(winner, DEFAULT)
    aucs = {score["name"]: Interval.of(score, "roc_auc") for score in scores.settings}
    parent.log_metrics(
        {f"final_default_{METRIC}": means[DEFAULT]}
        | aucs[winner].columns(f"final_best_{METRIC}")
        | gain.columns(f"final_gain_{METRIC}")
    )
    parent.set_tags({"winner.run_id": chosen.run_id, "winner.setting": winner})
    if "test_roc_auc" not in chosen.metrics:
        run_evaluate(run=chosen.run_id, split="test")
        chosen = find_run(chosen.run_id)
    compared = len(counted_trials(table)) + sum(map(len, runs.values()))
    sure = f"{scores.confidence:.0%} for other posters and other seeds"
    lines = [
        f"{'setting':<14}{METRIC} of {len(seeds)} seeds, {sure}",
        *(f"{name:<14}{auc.text(4)}" for name, auc in aucs.items()),
        f"winner: {winner}, {gain.text(4, sign=True)} against the default; run {chosen.run_id}",
        f"on test, once: ROC AUC {chosen.metrics['test_roc_auc']:.4f}",
        register_winner(task, chosen.run_id, compared),
    ]
    with parent.results("final") as folder:
        (folder / "ending.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "comparison.txt").write_text(scores.text() + "\n", encoding="utf-8")
        scores.write_pairs(folder)
    return "\n".join(lines)


def register_winner(task: Task, run_id: str, compared: int) -> str:
    """Registers a run, and promotes it where it is better than the champion on the test posters; in words."""
    if task.profile == "demo":
        return "the demo's winner is not registered: give --data DIR for real posters"
    version = register_run(run_id, chosen_among=compared)
    if version.alias != CHALLENGER:
        return f"{version.text()}: there was no champion to compare it with"
    try:
        return run_promote(task.config.model.family).text()
    except RegistryError as error:  # a champion of other data, or never evaluated: no reason to lose the end
        return f"{version.text()}: not compared with the champion: {error}"


def _trained(task: Task, changes: Mapping[str, object], name: str, parent: RunLogger) -> RunRecord:
    """Returns the full training of that name: the one that is there, continued or begun now."""
    there = [child for child in children(parent.run_id) if child.name == name]
    for child in there:
        if child.status == "FINISHED":
            return child
    begun = next((child.run_id for child in there if child.status != "FAILED"), None)
    logger.info(f"{name}: all posters, {task.config.train.epochs} epochs")
    config = replace(task.config, **changes)
    result = train_task(
        dataclasses.replace(task, config=config, name=name, run_id=begun, parent_run_id=parent.run_id)
    )
    keras.backend.clear_session()  # a dozen networks in one process would add up
    return find_run(result.run_id)
