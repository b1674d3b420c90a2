"""What an objective gets and gives: the contract between the search and whatever it searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class PrunedError(Exception):
    """Raised by an objective that stops because `TrialContext.report` said so."""


class TrialLostError(Exception):
    """Raised by `TrialContext.report` where the command is gone; an objective lets it through."""


@dataclass(frozen=True)
class TrialContext:
    """One trial, as an objective sees it: the same again where it is run again after a death.

    Attributes:
        number: of the trial, unique in its study.
        overrides: dotted configuration keys and their values.
        seed: of this trial.
        folder: for checkpoints. It exists, and nobody else works in it.
        report: takes the epochs done (1, 2, ...) and the validation AUC; returns whether to stop: then
            raise `PrunedError`.
    """

    number: int
    overrides: dict[str, Any]
    seed: int
    folder: Path
    report: Callable[[int, float], bool]


class Objective(Protocol):
    """Trains one candidate. It must be picklable: workers are other processes."""

    def __call__(self, trial: TrialContext) -> float:
        """Returns the validation AUC, higher is better. Raises `PrunedError` to stop early; any other error
        fails the trial.
        """
