"""`poster-ml suite`: all variants under one protocol, one table, significant differences."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from poster_ml.commands.suite_table import build_table
from poster_ml.commands.train import train_task
from poster_ml.config import experiments_folder, flatten, replace
from poster_ml.errors import ConfigError, PosterMLError, TrackingError, nearest
from poster_ml.files import check_output_folder, command_result
from poster_ml.pipeline.fit import identity
from poster_ml.pipeline.preflight import check_training, open_named
from poster_ml.pipeline.records import recorded_config
from poster_ml.pipeline.task import Task, choose_dataset, resolve_task
from poster_ml.tracking.runs import RunRecord, find_run, open_run, search_runs
from poster_ml.tracking.store import connect

logger = logging.getLogger(__name__)

# The study's order, the small one last.
VARIANTS = (
    "basic_cnn",
    "regularized_cnn",
    "augmented_cnn",
    "vgg16_features",
    "vgg16_features_augmented",
    "vgg16",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet_v2",
)


@dataclass(frozen=True)
class SuiteResult:
    """One row per run, the table of variants, their comparison, what could not be run, and the files."""

    run_id: str
    rows: list[dict[str, Any]]
    table: str
    comparison: str
    failures: dict[str, str]
    folder: Path

    def text(self) -> str:
        """Returns the table, the paired comparison, and what failed."""
        parts = [self.table]
        if self.comparison:
            parts.append(self.comparison)
        parts += [f"{name} could not be run: {why}" for name, why in self.failures.items()]
        parts.append(f"table and figures in {self.folder}, run {self.run_id}")
        return "\n\n".join(parts)


def run_suite(
    *,
    data: Path | None = None,
    protocol: str = "sound",
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: int = 1,
    out: Path,
) -> SuiteResult:
    """Trains every variant, each in a run of its own under one parent, and compares them on validation.

    A run that the store holds finished, with the same configuration and dataset, is not trained again;
    one that was interrupted continues. A variant that cannot be run does not stop the others.

    Args:
        data: a prepared dataset; None as for `train`.
        protocol: `sound` or `study`.
        only: variants; empty: all.
        overrides: "key=value" for all variants, "VARIANT:key=value" for one.
        seeds: runs per variant, with seeds that follow one another.
        out: folder for the table and the figures.

    Raises: ConfigError for unknown variants; OutputError where `out` holds other files; PosterMLError
        where nothing could be run.
    """
    check_output_folder(out, command_result("suite"))
    connect(write=True)
    tasks = _tasks(data, protocol, only, overrides, seeds)
    records: dict[str, list[RunRecord]] = {}
    failures: dict[str, str] = {}
    with open_run(f"suite {protocol}", tags={"kind": "suite", "protocol": protocol}) as parent:
        for number, task in enumerate(tasks, start=1):
            name = _name(task, seeds)
            logger.info(f"[{number}/{len(tasks)}] {name}")
            try:
                found = _train_or_find(task, name, parent.run_id)
                records.setdefault(task.config.variant, []).append(found)
            except PosterMLError as error:
                logger.warning(f"{name} could not be run: {error}")
                failures[name] = str(error)
            keras.backend.clear_session()
        if not records:
            raise PosterMLError(f"no variant could be run: {'; '.join(failures.values())}")
        table = build_table(records, tasks[0].config.evaluate.confidence)
        for file in table.write(out):
            parent.log_file(file)
        parent.log_metrics({"best_val_roc_auc": table.best_auc()})
    comparison = table.scores.text() if table.scores.pairs else ""
    return SuiteResult(parent.run_id, table.rows(), table.markdown(), comparison, failures, out)


def with_interval(metrics: Mapping[str, Any], name: str) -> str:
    """Returns "0.612 (0.590 to 0.634)" from `name`, `name_ci_low` and `name_ci_high`."""
    low, high = metrics[f"{name}_ci_low"], metrics[f"{name}_ci_high"]
    return f"{metrics[name]:.3f} ({low:.3f} to {high:.3f})"


def overrides_of(variant: str, overrides: Sequence[str], known: Sequence[str]) -> list[str]:
    """Returns what holds for one variant: "key=value" is for all, "VARIANT:key=value" for that one.

    What is meant for one variant comes last and wins.

    Raises: ConfigError for a prefix that is no variant.
    """
    general, special = [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        name, colon, rest = key.strip().partition(":")
        if not colon:
            general.append(override)
            continue
        if name not in known:
            raise ConfigError(
                [f"--set {override}: unknown variant {name!r}{nearest(name, known)}: {_choose(known)}"]
            )
        if name == variant:
            special.append(f"{rest}{equals}{value}")
    return [*general, *special]


def _tasks(
    data: Path | None, protocol: str, only: Sequence[str], overrides: Sequence[str], seeds: int
) -> list[Task]:
    folder = experiments_folder() / ("study" if protocol == "study" else "")
    known = [*VARIANTS, *sorted({file.stem for file in folder.glob("*.yaml")} - set(VARIANTS))]
    for name in only:
        if name not in known:
            raise ConfigError([f"unknown variant {name!r}{nearest(name, known)}: {_choose(known)}"])
    chosen = [name for name in known if name in only or not only]
    for override in overrides:
        variant, colon, _ = override.partition("=")[0].strip().partition(":")
        if colon and variant in known and variant not in chosen:
            logger.warning(f"--set {override} is for {variant}, which is not among the chosen variants")
    own = {name: overrides_of(name, overrides, known) for name in chosen}
    configs = {name: check_training(name, overrides=own[name], protocol=protocol) for name in chosen}
    dataset, profile = choose_dataset(open_named(data))
    tasks = []
    for name, config in configs.items():
        task = resolve_task(config, dataset, profile, own[name])
        tasks += [
            dataclasses.replace(task, config=replace(task.config, seed=task.config.seed + offset))
            for offset in range(seeds)
        ]
    return tasks


def _choose(known: Sequence[str]) -> str:
    return f"choose of {', '.join(known)}"


def _name(task: Task, seeds: int) -> str:
    return task.config.variant if seeds == 1 else f"{task.config.variant} seed {task.config.seed}"


def _train_or_find(task: Task, name: str, parent_run_id: str) -> RunRecord:
    """Trains a task, continues it, or finds that it is done."""
    mark = f"{identity(task.config, task.dataset)}-{task.config.train.epochs}"
    for record in search_runs(f"tags.identity = '{mark}'"):
        if record.status == "FINISHED":
            logger.info(f"{name} is done: run {record.run_id}")
            _warn_of_other_evaluating(record, task, name)
            return record
        logger.info(f"{name} continues: run {record.run_id}")
        own = _as_begun(record, task, name)
        return find_run(train_task(own, run_id=record.run_id, name=name).run_id)
    tags = {"identity": mark}
    return find_run(train_task(task, name=name, parent_run_id=parent_run_id, tags=tags).run_id)


def _as_begun(record: RunRecord, task: Task, name: str) -> Task:
    """Returns the task with the settings that an interrupted run was begun with: its params cannot change."""
    try:
        config = recorded_config(record)
    except TrackingError:  # it ended before it wrote them
        return task
    _warn_of_other_evaluating(record, task, name)
    return dataclasses.replace(task, config=config)


def _warn_of_other_evaluating(record: RunRecord, task: Task, name: str) -> None:
    """Says where a run is evaluated otherwise than is asked for now: it keeps its settings."""
    asked = {
        key: str(value)
        for key, value in flatten(task.config).items()
        if key.startswith(("evaluate.", "explain."))
    }
    other = [key for key, value in asked.items() if record.params.get(key, value) != value]
    if other:
        kept = ", ".join(f"{key}={record.params[key]}" for key in other)
        logger.warning(
            f"{name} keeps the settings that it was begun with ({kept}); "
            "`poster-ml evaluate --set` measures more"
        )
