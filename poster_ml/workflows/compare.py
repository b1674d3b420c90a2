"""`poster-ml compare`: runs on the same posters, and which of their differences are real."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from poster_ml.config import EvaluateConfig
from poster_ml.errors import EvaluationError, TrackingError
from poster_ml.evaluation.comparison import ComparisonTable, compare_runs
from poster_ml.files import atomic_path
from poster_ml.tracking.runs import RunRecord, find_run
from poster_ml.workflows.recorded import fetched


def run_compare(runs: Sequence[str], *, split: str = "test", out: Path | None = None) -> ComparisonTable:
    """Compares runs by the predictions that they logged.

    Args:
        runs: ids of at least two runs.
        split: whose predictions: `val` after train, `test` after evaluate.
        out: folder for `pairs.csv`, `runs.csv`, `comparison.txt`, `pairs.png` and `runs.png`; None: no files.

    Raises: EvaluationError, TrackingError saying which run lacks predictions and what to do.
    """
    if len(set(runs)) < 2:
        raise EvaluationError(f"compare needs at least two different runs, got {', '.join(runs) or 'none'}")
    return compare_records([find_run(run) for run in dict.fromkeys(runs)], split, out)


def compare_records(records: Sequence[RunRecord], split: str, out: Path | None) -> ComparisonTable:
    """Compares runs that were looked up already; arguments and errors as for `run_compare`."""
    names = _names(records)
    settings = EvaluateConfig()
    table = compare_runs(
        {name: logged_predictions(record, split) for name, record in names.items()},
        threshold={name: record.metrics.get("threshold", 0.5) for name, record in names.items()},
        repeats=settings.bootstrap,
        confidence=settings.confidence,
        seed=0,
        variants={name: record.variant or name for name, record in names.items()},
    )
    if out is not None:
        _write(table, out)
    return table


def _names(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Names a run by its name in MLflow, with the start of its id where two share one."""
    names = [record.name for record in records]
    return {
        record.name if names.count(record.name) == 1 else f"{record.name} {record.run_id[:6]}": record
        for record in records
    }


def logged_predictions(record: RunRecord, split: str) -> pd.DataFrame:
    """Returns what a run logged of a split: movie_id, label, probability per poster.

    Raises: TrackingError saying what to call first.
    """
    try:
        with fetched(record.run_id, f"evaluation/{split}/predictions.csv") as file:
            return pd.read_csv(file, dtype={"movie_id": str})
    except TrackingError as error:
        raise TrackingError(
            f"run {record.run_id} ({record.name}) has no predictions of {split}: "
            f"call `poster-ml evaluate --run {record.run_id} --split {split}` first"
        ) from error


def _write(table: ComparisonTable, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "pairs.csv": table.frame().to_csv(index=False),
        "runs.csv": table.runs_frame().to_csv(index=False),
        "comparison.txt": table.text() + "\n",
        "spreads.csv": pd.DataFrame(map(dataclasses.asdict, table.spreads)).to_csv(index=False),
    }
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    table.draw(out / "pairs.png")
    table.draw_runs(out / "runs.png")
