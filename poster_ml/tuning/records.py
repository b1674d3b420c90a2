"""What a study has found, as plain records: the same for both engines, with nothing of Optuna in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from poster_ml.config import SearchSpace
from poster_ml.tuning.claims import ERROR, SURPLUS, reason
from poster_ml.tuning.space import Primitive, dimensions_of, overrides
from poster_ml.tuning.study import OpenStudy
from poster_ml.tuning.work import MORE_OVERRIDES

FINISHED = "finished"
PRUNED = "pruned"
FAILED = "failed"
INTERRUPTED = "interrupted"
RUNNING = "running"


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: unique in the study.
        state: FINISHED, PRUNED, FAILED (its objective raised), INTERRUPTED (its worker died; the trial that
            repeats it has its number in `retry_of`) or RUNNING. Only the first two count.
        value: validation AUC; of a pruned trial the last one reported.
        drawn: what the engine drew, by dimension name.
        overrides: the same as configuration overrides, fixed values included; empty where nothing was drawn.
        curve: (epochs done, validation AUC) in order.
        seed: the trial's seed, None where it never began.
        origin: "own setting ...", "repeat of ...", "sampler" or KerasTuner's words.
        seconds: from begin to end, None while it runs.
        ended: when it ended.
        notes: everything else that was stored with the trial.
    """

    number: int
    state: str
    value: float | None
    drawn: dict[str, Primitive]
    overrides: dict[str, Any]
    curve: tuple[tuple[int, float], ...]
    seed: int | None
    retry_of: int | None
    origin: str
    error: str
    seconds: float | None
    ended: datetime | None
    notes: dict[str, Any]

    @property
    def counted(self) -> bool:
        """Whether it counts towards the budget."""
        return self.state in {FINISHED, PRUNED}


def read_records(opened: OpenStudy, space: SearchSpace) -> list[TrialRecord]:
    """Returns all trials but the surplus ones, which never began, in the order of their numbers."""
    return [
        _record(trial, space)
        for trial in opened.trials()
        if trial.state != TrialState.FAIL or reason(trial) != SURPLUS
    ]


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
    return sum(len(record.curve) for record in records if record.counted)


def to_csv(records: Sequence[TrialRecord]) -> str:
    """Writes the records as CSV text, one row per trial, one column per dimension."""
    head = ["number", "state", "val_auc", "epochs", "seconds", "seed", "origin", "retry_of", "error"]
    names = list(dict.fromkeys(name for record in records for name in record.drawn))
    rows = [
        [
            *(one.number, one.state, one.value, len(one.curve), one.seconds, one.seed),
            *(one.origin, one.retry_of, one.error),
            *map(one.drawn.get, names),
        ]
        for one in records
    ]
    return pd.DataFrame(rows, columns=[*head, *names], dtype=object).to_csv(index=False)


def _record(trial: FrozenTrial, space: SearchSpace) -> TrialRecord:
    notes = dict(trial.user_attrs)
    names = [dimension.name for dimension in dimensions_of(space)]
    drawn = {name: trial.params[name] for name in names if name in trial.params}
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        value=trial.value if trial.state in {TrialState.COMPLETE, TrialState.PRUNED} else None,
        drawn=drawn,
        overrides=overrides(space, drawn) | notes.get(MORE_OVERRIDES, {}) if len(drawn) == len(names) else {},
        curve=tuple(sorted(trial.intermediate_values.items())),
        seed=notes.get("seed"),
        retry_of=notes.get("retry_of"),
        origin=str(notes.get("origin", "")),
        error=str(notes.get("error", "")) if trial.state == TrialState.FAIL else "",
        seconds=None if trial.duration is None else round(trial.duration.total_seconds(), 3),
        ended=trial.datetime_complete,
        notes=notes,
    )


def _state(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return FAILED if reason(trial) == ERROR else INTERRUPTED
    return {TrialState.COMPLETE: FINISHED, TrialState.PRUNED: PRUNED}.get(trial.state, RUNNING)
