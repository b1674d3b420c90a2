"""`poster-ml compare`: runs on the same posters, and which of their differences are significant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poster_ml.config import EvaluateConfig
from poster_ml.errors import EvaluationError
from poster_ml.evaluation.compare import ComparisonTable, compare
from poster_ml.files import check_output_folder, command_result, open_output_folder, write_text
from poster_ml.pipeline.records import logged_predictions
from poster_ml.tracking.runs import RunRecord, find_run

METADATA, COMBINED = "probability_metadata", "probability_combined"  # of predictions.csv


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
    named = _names([find_run(run) for run in dict.fromkeys(runs)])
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
    comparison = Comparison(by_run, by_setting, _with_metadata(tables, confidence))
    if out is not None:
        _write(comparison, out)
    return comparison


def _with_metadata(
    settings: Mapping[str, Sequence[pd.DataFrame]], confidence: float
) -> ComparisonTable | None:
    """Compares the scores of poster, year and genres together, and those of year and genres alone."""
    if not all(COMBINED in table for tables in settings.values() for table in tables):
        return None
    scored = {name: [_as_scores(table, COMBINED) for table in tables] for name, tables in settings.items()}
    alone = _as_scores(next(iter(settings.values()))[0], METADATA)  # no network, so the same in every run
    return compare(scored | {"year + genres, no poster": [alone]}, threshold=0.5, confidence=confidence)


def _as_scores(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Takes another column for the probability, of the posters that have one."""
    return table.assign(probability=table[column]).dropna(subset=["probability"])


def group_by_setting(named: Mapping[str, RunRecord]) -> dict[str, list[str]]:
    """Puts runs together whose parameters differ in the seed alone.

    Returns: setting -> names of its runs. A setting is called by its variant where no other has that one,
        else by its first run, without the seed that the suite and the search put at the end of a name.
    """
    members: dict[tuple[object, ...], list[str]] = {}
    for name, record in named.items():
        same = tuple(sorted((key, value) for key, value in record.params.items() if key != "seed"))
        members.setdefault((record.variant, same), []).append(name)
    variants = [str(key[0]) for key in members]
    groups = {}
    for (variant, _), names in members.items():
        unique = bool(variant) and variants.count(str(variant)) == 1
        label = str(variant) if unique else re.sub(r",? seed \d+.*$", "", names[0])
        groups[label if label not in groups else names[0]] = names
    return groups


def _names(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Names a run by its name in MLflow, with the start of its id where two share one."""
    names = [record.name for record in records]
    return {
        record.name if names.count(record.name) == 1 else f"{record.name} {record.run_id[:6]}": record
        for record in records
    }


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
