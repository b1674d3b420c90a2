"""`poster-ml compare`: runs on the same posters, and which of their differences are significant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poster_ml.config import EvaluateConfig
from poster_ml.errors import EvaluationError
from poster_ml.evaluation.compare import ComparisonTable, compare
from poster_ml.files import check_output_folder, command_result, open_output_folder, write_text
from poster_ml.pipeline.comparison import compare_combined, group_by_setting, name_runs
from poster_ml.pipeline.records import logged_predictions
from poster_ml.tracking.runs import find_run


@dataclass(frozen=True)
class Comparison:
    """All runs; where some differ in nothing but the seed, their means over seeds; all with year and genres.

    combined: every setting together with year and genres, beside these alone; None where the
        dataset lacks them, or a run was evaluated without.
    """

    by_run: ComparisonTable
    by_setting: ComparisonTable | None
    combined: ComparisonTable | None

    def text(self) -> str:
        """Returns the tables and, in words, which differences are significant."""
        texts = [table.text() for table in (self.by_run, self.by_setting) if table is not None]
        if self.combined is not None:
            texts.append(f"together with year and genres:\n{self.combined.text()}")
        return "\n\n".join(texts)


def run_compare(runs: Sequence[str], *, split: str = "test", out: Path | None = None) -> Comparison:
    """Compares runs by the predictions that they logged; those that differ in the seed only are one setting.

    Args:
        runs: ids of at least two runs.
        split: whose predictions: `val` after train, `test` after evaluate.
        out: folder for `pairs.csv`, `runs.csv`, `comparison.txt`, `pairs.png` and `runs.png`, with
            several seeds `settings.csv`, `settings.png` and `spreads.csv`, with year and genres
            `combined.csv`, `combined_pairs.csv` and `combined_pairs.png`; None: no files.

    Raises: EvaluationError, TrackingError saying which run lacks predictions and what to do;
        OutputError where `out` holds other files.
    """
    if out is not None:
        check_output_folder(out, command_result("compare"))
    if len(set(runs)) < 2:
        raise EvaluationError(f"compare needs at least two different runs, got {', '.join(runs) or 'none'}")
    named = name_runs([find_run(run) for run in dict.fromkeys(runs)])
    groups = group_by_setting(named)
    predictions = {name: [logged_predictions(record, split)] for name, record in named.items()}
    thresholds = {name: [record.metrics.get("threshold", 0.5)] for name, record in named.items()}
    confidence = EvaluateConfig().confidence
    by_run = compare(predictions, threshold=thresholds, confidence=confidence, accuracy=True)
    tables = {label: [predictions[name][0] for name in members] for label, members in groups.items()}
    by_setting = None
    if len(groups) < len(named):
        by_setting = compare(
            tables,
            threshold={label: [thresholds[name][0] for name in members] for label, members in groups.items()},
            confidence=confidence,
        )
    comparison = Comparison(by_run, by_setting, compare_combined(tables, confidence))
    if out is not None:
        _write(comparison, out)
    return comparison


def _write(comparison: Comparison, out: Path) -> None:
    open_output_folder(out, "compare")
    texts = {"comparison.txt": comparison.text() + "\n"}
    for table, pairs, settings in (
        (comparison.by_run, "pairs", "runs"),
        (comparison.by_setting, "settings", "spreads"),
        (comparison.combined, "combined_pairs", "combined"),
    ):
        if table is not None:
            texts[f"{settings}.csv"] = pd.DataFrame(table.settings).to_csv(index=False)
            table.write_pairs(out, pairs)
    comparison.by_run.draw_settings(out / "runs.png")
    for name, text in texts.items():
        write_text(out / name, text)
