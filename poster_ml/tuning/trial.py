"""What an objective gets and gives: the contract between the search and whatever it searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class PrunedError(Exception):
    """Raised by an objective that stops because `TrialContext.report` said so."""


class TrialLostError(Exception):
    """Raised to an objective whose trial was given to another worker, as this one seemed dead.

    An objective lets it through: what it would return is not counted.
    """


class WorkerStopped(SystemExit):
    """Raised inside a worker that was asked to stop; no Exception, so that objectives let it through."""


@dataclass(frozen=True)
class TrialContext:
    """One trial, as an objective sees it.

    Attributes:
        number: of the trial, unique in its study.
        root: of the trial whose settings this one repeats after an interruption; else its own number.
        attempt: 0, then 1, 2, ... for each repetition after an interruption.
        overrides: dotted configuration keys and their values.
        seed: of this trial; a repetition has the seed of its root.
        folder: for checkpoints; the same one for a trial and its repetitions. It exists.
        report: takes the epochs done (1, 2, ...) and the validation AUC; returns whether to stop: then
            raise `PrunedError`.
        note: stores a JSON value under a key with the trial, at once.
    """

    number: int
    root: int
    attempt: int
    overrides: dict[str, Any]
    seed: int
    folder: Path
    report: Callable[[int, float], bool]
    note: Callable[[str, Any], None]


class Objective(Protocol):
    """Trains one candidate. It must be picklable: workers are fresh processes."""

    def __call__(self, trial: TrialContext) -> float:
        """Returns the validation AUC, higher is better. Raises `PrunedError` to stop early; any other error
        fails the trial.
        """
