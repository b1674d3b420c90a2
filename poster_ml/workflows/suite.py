"""`poster-ml suite`: all variants under one protocol, one table, one figure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from poster_ml.config import experiments_folder
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError, PosterMLError, nearest
from poster_ml.evaluation.forest import ForestRow, draw_forest
from poster_ml.evaluation.intervals import Interval
from poster_ml.files import atomic_path
from poster_ml.tracking.runs import RunRecord, find_run, open_run, search_runs
from poster_ml.workflows.candidate import identity
from poster_ml.workflows.compare import compare_records
from poster_ml.workflows.profile import Task, resolve_task
from poster_ml.workflows.train import train_task

logger = logging.getLogger(__name__)

# The study's order, the compact one last.
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
# Train and validation accuracy as the study's README gives them.
STUDY_ROWS = {
    "basic_cnn": ".99 / .55",
    "regularized_cnn": ".75 / .56",
    "augmented_cnn": ".59 / .58",
    "vgg16_features": ".62 / .61",
    "vgg16_features_augmented": ".62 / .61",
    "vgg16": ".62 / .62",
    "inception_resnet_v2": ".66 / .62",
    "inception_v3": ".64 / .61",
}


@dataclass(frozen=True)
class SuiteResult:
    """One row per run, what could not be run, and where the files are."""

    run_id: str
    rows: list[dict[str, Any]]
    failures: dict[str, str]
    comparison: str
    folder: Path

    def text(self) -> str:
        """Returns the table, the paired comparison, and what failed."""
        parts = [suite_table(self.rows)]
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

    A variant that the store holds finished, with the same configuration and dataset, is not trained again;
    one that was interrupted goes on. A variant that cannot be run does not stop the others.

    Args:
        data: a prepared dataset; None as for `train`.
        protocol: `sound` or `study`.
        only: variants; empty: all.
        overrides: "key=value" each, for all variants.
        seeds: runs per variant, with seeds that follow one another.
        out: folder for `suite.csv`, `suite.md` and the comparison's files.

    Raises: ConfigError for unknown variants; PosterMLError where nothing could be run.
    """
    tasks = _tasks(data, protocol, only, overrides, seeds)
    records: list[RunRecord] = []
    failures: dict[str, str] = {}
    with open_run(f"suite {protocol}", tags={"kind": "suite", "protocol": protocol}) as parent:
        for number, task in enumerate(tasks, start=1):
            name = _name(task, seeds)
            logger.info(f"[{number}/{len(tasks)}] {name}")
            try:
                records.append(_train_or_find(task, name, parent.run_id))
            except PosterMLError as error:
                logger.warning(f"{name} could not be run: {error}")
                failures[name] = str(error)
            keras.backend.clear_session()
        if not records:
            raise PosterMLError(f"no variant could be run: {'; '.join(failures.values())}")
        rows = [_row(record) for record in records]
        comparison = compare_records(records, "val", out).text() if len(records) > 1 else ""
        _write(rows, out)
        parent.log_folder(out)
        parent.log_metrics({"best_val_roc_auc": max(record.metrics["val_roc_auc"] for record in records)})
    return SuiteResult(parent.run_id, rows, failures, comparison, out)


def suite_table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    header = ["variant", "study train / val", "train accuracy", "val accuracy", "val ROC AUC", "epochs"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [
            str(row["name"]),
            STUDY_ROWS.get(str(row["variant"]), "-"),
            f"{row['kept_accuracy']:.3f}",
            with_interval(row, "val_accuracy"),
            with_interval(row, "val_roc_auc"),
            f"{row['kept_epoch']:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    majority = rows[0]["val_majority_accuracy"]
    return "\n".join([*lines, "", f"Majority on validation: {majority:.3f}. Intervals: 95 %."])


def with_interval(metrics: Mapping[str, Any], name: str) -> str:
    """Returns "0.612 (0.590 to 0.634)" from `name`, `name_ci_low` and `name_ci_high`."""
    low, high = metrics[f"{name}_ci_low"], metrics[f"{name}_ci_high"]
    return f"{metrics[name]:.3f} ({low:.3f} to {high:.3f})"


def _tasks(
    data: Path | None, protocol: str, only: Sequence[str], overrides: Sequence[str], seeds: int
) -> list[Task]:
    folder = experiments_folder() / ("study" if protocol == "study" else "")
    known = [*VARIANTS, *sorted({file.stem for file in folder.glob("*.yaml")} - set(VARIANTS))]
    for name in only:
        if name not in known:
            raise ConfigError(
                [f"unknown variant {name!r}{nearest(name, known)}: choose of {', '.join(known)}"]
            )
    chosen = [name for name in known if name in only or not only]
    tasks = []
    for name in chosen:
        first = resolve_task(name, data, overrides=overrides, protocol=protocol)
        for offset in range(seeds):
            seeded = [*overrides, f"seed={first.config.seed + offset}"]
            tasks.append(
                first if offset == 0 else resolve_task(name, data, overrides=seeded, protocol=protocol)
            )
    return tasks


def _name(task: Task, seeds: int) -> str:
    return task.config.variant if seeds == 1 else f"{task.config.variant} seed {task.config.seed}"


def _train_or_find(task: Task, name: str, parent_run_id: str) -> RunRecord:
    """Trains a task, goes on with it, or finds that it is done."""
    mark = f"{identity(task.config, PreparedDataset.open(task.data))}-{task.config.train.epochs}"
    for record in search_runs(f"tags.identity = '{mark}'"):
        if record.status == "FINISHED":
            logger.info(f"{name} is done: run {record.run_id}")
            return record
        logger.info(f"{name} goes on: run {record.run_id}")
        return find_run(train_task(task, run_id=record.run_id, name=name).run_id)
    tags = {"identity": mark}
    return find_run(train_task(task, name=name, parent_run_id=parent_run_id, tags=tags).run_id)


def _row(record: RunRecord) -> dict[str, Any]:
    """The numbers of one run; training accuracy is that of the kept epoch."""
    names = ("val_accuracy", "val_roc_auc", "val_log_loss", "val_brier")
    intervals = [f"{name}_ci_{end}" for name in names for end in ("low", "high")]
    wanted = ("kept_accuracy", *names, *intervals, "val_majority_accuracy", "kept_epoch")
    numbers = {name: record.metrics.get(name, float("nan")) for name in wanted}
    return {"name": record.name, "variant": record.variant, "run_id": record.run_id, **numbers}


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "suite.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    draw_forest(
        out / "suite.png",
        [
            ForestRow(
                str(row["name"]),
                Interval(
                    float(row["val_roc_auc"]),
                    float(row["val_roc_auc_ci_low"]),
                    float(row["val_roc_auc_ci_high"]),
                ),
                f"accuracy {row['val_accuracy']:.3f}",
            )
            for row in rows
        ],
        label="validation ROC AUC with 95 % interval (line: chance)",
        title="The suite",
        reference=0.5,
    )
    with atomic_path(out / "suite.md") as temporary:
        temporary.write_text(suite_table(rows) + "\n", encoding="utf-8")
