"""Runs compared by the predictions that they logged, and which of them differ in the seed alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from poster_ml.evaluation.compare import ComparisonTable, compare
from poster_ml.pipeline.records import logged_predictions
from poster_ml.tracking.runs import RunRecord

METADATA, COMBINED = "probability_metadata", "probability_combined"  # of predictions.csv


def compare_runs(
    runs: Mapping[str, Sequence[RunRecord]], confidence: float, not_compared: Collection[str] = ()
) -> ComparisonTable:
    """Compares settings on validation, each as the mean over its runs, by what these logged.

    Args:
        runs: of each setting.
        confidence, not_compared: as of `evaluation.compare.compare`.

    Raises: TrackingError for a run without predictions; EvaluationError where they don't fit.
    """
    return compare(
        {name: [logged_predictions(run, "val") for run in own] for name, own in runs.items()},
        threshold={name: [run.metrics["threshold"] for run in own] for name, own in runs.items()},
        confidence=confidence,
        not_compared=not_compared,
    )


def name_runs(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Names a run by its name in MLflow, with the start of its id where two share one."""
    names = [record.name for record in records]
    return {
        record.name if names.count(record.name) == 1 else f"{record.name} {record.run_id[:6]}": record
        for record in records
    }


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


def compare_combined(
    settings: Mapping[str, Sequence[pd.DataFrame]], confidence: float
) -> ComparisonTable | None:
    """Compares the scores of poster, year and genres together, and those of year and genres alone.

    Returns: None where a run was evaluated without year and genres.
    """
    if not all(COMBINED in table for tables in settings.values() for table in tables):
        return None
    scored = {name: [_as_scores(table, COMBINED) for table in tables] for name, tables in settings.items()}
    alone = _as_scores(next(iter(settings.values()))[0], METADATA)  # no network, so the same in every run
    return compare(scored | {"year + genres, no poster": [alone]}, threshold=0.5, confidence=confidence)


def _as_scores(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Takes another column for the probability, of the posters that have one."""
    return table.assign(probability=table[column]).dropna(subset=["probability"])
