"""`poster-ml suite`: all variants under one protocol, one table, significant differences."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from poster_ml.commands.suite_table import STUDY_ROWS, build_table
from poster_ml.commands.train import TrainResult, train_task
from poster_ml.config import experiments_folder, flatten, replace
from poster_ml.errors import ConfigError, PosterMLError, TrackingError, nearest
from poster_ml.pipeline.fit import identity
from poster_ml.pipeline.preflight import check_training, open_named
from poster_ml.pipeline.records import recorded_config
from poster_ml.pipeline.task import Task, choose_dataset, resolve_task
from poster_ml.tracking.runs import RunLogger, RunRecord, find_run, open_run, search_runs
from poster_ml.tracking.store import connect
from poster_ml.tracking.views import say_view

logger = logging.getLogger(__name__)

VARIANTS = (*STUDY_ROWS, "mobilenet_v2")  # the study's order, the small one last


@dataclass(frozen=True)
class SuiteResult:
    """One row per run, the table of variants, their comparison, what could not be run, and the files."""

    run_id: str
    rows: list[dict[Hashable, Any]]
    table: str
    comparison: str
    failures: dict[str, str]
    folder: Path

    def text(self) -> str:
        """Returns the table, the paired comparison, and what failed."""
        failed = [f"{name} could not be run: {why}" for name, why in self.failures.items()]
        where = f"table and figures in {self.folder}, run {self.run_id}"
        return "\n\n".join(filter(None, [self.table, self.comparison, *failed, where]))


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
        overrides: "key=value" for all variants, "VARIANT:key=value" for one, which wins.
        seeds: runs per variant, with seeds that follow one another.
        out: folder for the table and the figures.

    Raises: ConfigError for unknown variants; OutputError where `out` holds other files; PosterMLError
        where nothing could be run.
    """
    connect(write=True)
    tasks = suite_tasks(data, protocol, only, overrides, seeds)
    records: dict[str, list[RunRecord]] = {}
    failures: dict[str, str] = {}
    with open_run(f"suite {protocol}", tags={"kind": "suite", "protocol": protocol}) as parent:
        for number, task in enumerate(tasks, start=1):
            variant = task.config.variant
            name = variant if seeds == 1 else f"{variant} seed {task.config.seed}"
            logger.info(f"[{number}/{len(tasks)}] {name}")
            try:
                record = train_or_find(task, name, parent.run_id)
                records.setdefault(variant, []).append(record)
            except PosterMLError as error:
                logger.warning(f"{name} could not be run: {error}")
                failures[name] = str(error)
            keras.backend.clear_session()
        if not records:
            raise PosterMLError(f"no variant could be run: {'; '.join(failures.values())}")
        table = build_table(records, tasks[0].config.evaluate.confidence)
        for file in table.write(out):
            parent.log_file(file)
        parent.log_metrics({"best_val_roc_auc": table.scores.settings[0]["roc_auc"]})
    say_view()
    pairs = table.scores.text() if table.scores.pairs else ""
    rows = table.runs.to_dict("records")
    return SuiteResult(parent.run_id, rows, table.markdown(), pairs, failures, out)


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


def train_or_find(
    task: Task, name: str, parent_run_id: str, train: Callable[..., TrainResult | RunLogger] = train_task
) -> RunRecord:
    """Trains a task, continues it with the settings that it was begun with, or finds that it is done.

    Args:
        task: configuration, dataset and profile.
        name: of a new run.
        parent_run_id: the run it is shown under.
        train: with the arguments of `train_task`.
    """
    mark = f"{identity(task.config, task.dataset)}-{task.config.train.epochs}"
    found = search_runs(f"tags.identity = '{mark}'", limit=1)
    if not found:
        tags = {"identity": mark}
        return find_run(train(task, name=name, parent_run_id=parent_run_id, tags=tags).run_id)
    (record,) = found
    done = record.status == "FINISHED"
    logger.info(f"{name} {'is done' if done else 'continues'}: run {record.run_id}")
    settings = flatten(task.config)
    kept = [
        f"{key}={value}"
        for key, value in record.params.items()
        if key.startswith(("evaluate.", "explain.")) and value != str(settings.get(key, value))
    ]
    if kept:
        logger.warning(
            f"{name} keeps the settings that it was begun with ({', '.join(kept)}); "
            "`poster-ml evaluate --set` measures more"
        )
    if done:
        return record
    with suppress(TrackingError):  # it ended before it wrote its settings
        task = dataclasses.replace(task, config=recorded_config(record))
    return find_run(train(task, run_id=record.run_id, name=name).run_id)
