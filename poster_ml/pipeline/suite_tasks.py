"""The trainings of a suite: which there are, and which of them the store holds already."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from poster_ml.config import experiments_folder, flatten, replace
from poster_ml.errors import ConfigError, TrackingError, nearest
from poster_ml.pipeline.fit import identity
from poster_ml.pipeline.preflight import check_training, open_named
from poster_ml.pipeline.records import recorded_config
from poster_ml.pipeline.suite_table import STUDY_ROWS
from poster_ml.pipeline.task import Task, choose_dataset, resolve_task
from poster_ml.pipeline.train_log import TrainResult
from poster_ml.tracking.runs import RunLogger, RunRecord, find_run, search_runs

logger = logging.getLogger(__name__)

VARIANTS = (*STUDY_ROWS, "mobilenet_v2")  # the study's order, the small one last


def suite_tasks(
    data: Path | None, protocol: str, only: Sequence[str], overrides: Sequence[str], seeds: int
) -> list[Task]:
    """Returns every training of a suite, all settings checked before the dataset is read.

    Args, Raises: as of `run_suite`.
    """
    folder = experiments_folder() / ("study" if protocol == "study" else "")
    known = [*VARIANTS, *sorted({file.stem for file in folder.glob("*.yaml")} - set(VARIANTS))]
    targets = [name for name in map(_target, overrides) if name]
    unknown = [name for name in dict.fromkeys([*only, *targets]) if name not in known]
    if unknown:
        named = " and ".join(f"{name!r}{nearest(name, known)}" for name in unknown)
        raise ConfigError([f"unknown variant {named}: choose of {', '.join(known)}"])
    chosen = [name for name in known if name in only or not only]
    for name in sorted(set(targets) - set(chosen)):
        logger.warning(f"--set {name}:... is for {name}, which is not among the chosen variants")
    own = {name: overrides_of(name, overrides) for name in chosen}
    configs = {name: check_training(name, overrides=own[name], protocol=protocol) for name in chosen}
    dataset, profile = choose_dataset(open_named(data))
    tasks = [resolve_task(config, dataset, profile, own[name]) for name, config in configs.items()]
    return [
        dataclasses.replace(task, config=replace(task.config, seed=task.config.seed + offset))
        for task in tasks
        for offset in range(seeds)
    ]


def overrides_of(variant: str, overrides: Sequence[str]) -> list[str]:
    """Returns what holds for one variant as "key=value": what is meant for all, then what for it alone."""
    own = [text.partition(":")[2] for text in overrides if _target(text) == variant]
    return [text for text in overrides if not _target(text)] + own


def _target(override: str) -> str:
    """The variant that "VARIANT:key=value" is for, "" for all."""
    name, colon, _ = override.partition("=")[0].partition(":")
    return name.strip() if colon else ""


def train_or_find(task: Task, train: Callable[[Task], TrainResult | RunLogger]) -> RunRecord:
    """Trains a task, continues it with the settings that it was begun with, or finds that it is done.

    Args:
        task: with name and parent of a new run.
        train: `commands.train.train_task` or `pipeline.folds.train_fold`.
    """
    mark = f"{identity(task.config, task.dataset)}-{task.config.train.epochs}"
    found = search_runs(f"tags.identity = '{mark}'", limit=1)
    if not found:
        return find_run(train(dataclasses.replace(task, tags={"identity": mark})).run_id)
    (record,) = found
    done = record.status == "FINISHED"
    logger.info(f"{task.name} {'is done' if done else 'continues'}: run {record.run_id}")
    settings = flatten(task.config)
    kept = [
        f"{key}={value}"
        for key, value in record.params.items()
        if key.startswith(("evaluate.", "explain.")) and value != str(settings.get(key, value))
    ]
    if kept:
        logger.warning(
            f"{task.name} keeps the settings that it was begun with ({', '.join(kept)}); "
            "`poster-ml evaluate --set` measures more"
        )
    if done:
        return record
    with suppress(TrackingError):  # it ended before it wrote its settings
        task = dataclasses.replace(task, config=recorded_config(record))
    # It stays under the run that it was begun under.
    return find_run(train(dataclasses.replace(task, run_id=record.run_id, parent_run_id=None)).run_id)
