"""`poster-ml suite`: all variants under one protocol, one table, significant differences."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from poster_ml.commands.train import train_task
from poster_ml.errors import PosterMLError
from poster_ml.pipeline.suite_table import build_table
from poster_ml.pipeline.suite_tasks import suite_tasks, train_or_find
from poster_ml.tracking.runs import RunRecord, open_run
from poster_ml.tracking.store import connect
from poster_ml.tracking.views import say_view

logger = logging.getLogger(__name__)


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
                named = dataclasses.replace(task, name=name, parent_run_id=parent.run_id)
                records.setdefault(variant, []).append(train_or_find(named, train_task))
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
