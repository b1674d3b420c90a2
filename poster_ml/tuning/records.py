"""What a study has found, as plain records: the same for both engines, with nothing of Optuna in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from poster_ml.config import SearchSpace
from poster_ml.tuning.space import Primitive, dimensions_of, overrides
from poster_ml.tuning.study import OpenStudy

FINISHED = "finished"
PRUNED = "pruned"
FAILED = "failed"
INTERRUPTED = "interrupted"
STATES = {
    TrialState.COMPLETE: FINISHED,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: INTERRUPTED,
}
MORE_OVERRIDES = "more_overrides"  # of one trial, beyond the space: KerasTuner's Hyperband sets its epochs


@dataclass(frozen=True)
class TrialRecord:
    """One trial that has begun.

    Attributes:
        number: unique in the study.
        state: FINISHED, PRUNED, FAILED (its objective raised) or INTERRUPTED (not ended: it continues when
            the command is repeated, unless it runs now). Only the first two count.
        value: validation AUC; of a pruned trial the last one reported.
        drawn: what the engine drew, by dimension name.
        overrides: the same as configuration overrides, fixed values included; empty where nothing was drawn.
        epochs: how many it reported.
        seed: the trial's seed, None where it never began.
        error: why it failed.
        seconds: from begin to end, None while it has none.
        ended: when it ended.
    """

    number: int
    state: str
    value: float | None
    drawn: dict[str, Primitive]
    overrides: dict[str, Any]
    epochs: int
    seed: int | None
    error: str
    seconds: float | None
    ended: datetime | None

    @property
    def counted(self) -> bool:
        """Whether it counts towards the budget."""
        return self.state in {FINISHED, PRUNED}


def read_records(opened: OpenStudy, space: SearchSpace) -> list[TrialRecord]:
    """Returns the trials that have begun, in the order of their numbers."""
    return [_record(trial, space) for trial in opened.trials(*STATES)]


def top(records: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """Returns the best finished trials with different settings, best first."""
    best: list[TrialRecord] = []
    finished = [record for record in records if record.state == FINISHED and record.value is not None]
    for record in sorted(finished, key=lambda record: -(record.value or 0.0)):
        if all(record.drawn != other.drawn for other in best):
            best.append(record)
    return best[:count]


def best_so_far(records: Sequence[TrialRecord]) -> list[tuple[int, float]]:
    """Returns (position, best finished value so far) for each counted trial, positions 1, 2, ...

    Positions are the order of ending in the budget, not trial numbers: interrupted trials leave no gap.
    Before the first finished trial there is no entry.
    """
    line: list[tuple[int, float]] = []
    best = float("-inf")
    for position, record in enumerate(by_end([record for record in records if record.counted]), start=1):
        if record.state == FINISHED and record.value is not None:
            best = max(best, record.value)
        if best > float("-inf"):
            line.append((position, best))
    return line


def by_end(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the records in the order in which they ended, so that a later end moves no earlier one."""
    return sorted(records, key=lambda record: (record.ended or datetime.max, record.number))


def epochs_run(records: Sequence[TrialRecord]) -> int:
    """Returns how many epochs the counted trials took."""
    return sum(record.epochs for record in records if record.counted)


def to_csv(records: Sequence[TrialRecord]) -> str:
    """Writes the records as CSV text, one row per trial, one column per dimension."""
    rows = [
        {
            "number": one.number,
            "state": one.state,
            "val_auc": one.value,
            "epochs": one.epochs,
            "seconds": one.seconds,
            "seed": one.seed,
            "error": one.error,
            **one.drawn,
        }
        for one in records
    ]
    return pd.DataFrame(rows, dtype=object).to_csv(index=False)


def _record(trial: FrozenTrial, space: SearchSpace) -> TrialRecord:
    notes = trial.user_attrs
    names = [dimension.name for dimension in dimensions_of(space)]
    drawn = {name: trial.params[name] for name in names if name in trial.params}
    return TrialRecord(
        number=trial.number,
        state=STATES[trial.state],
        value=trial.value if trial.state != TrialState.RUNNING else None,
        drawn=drawn,
        overrides=overrides(space, drawn) | notes.get(MORE_OVERRIDES, {}) if len(drawn) == len(names) else {},
        epochs=len(trial.intermediate_values),
        seed=notes.get("seed"),
        error=str(notes.get("error", "")),
        seconds=None if trial.duration is None else round(trial.duration.total_seconds(), 3),
        ended=trial.datetime_complete,
    )
