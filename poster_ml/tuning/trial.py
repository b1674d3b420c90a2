"""One trial as a worker runs it: what an objective gets and gives, and the task around it."""

from __future__ import annotations

import math
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from poster_ml.cluster_inbox import ask_command, own_address
from poster_ml.errors import PosterMLError, TuningError

_ONE_AT_A_TIME = threading.Lock()  # in one worker process: Keras has global state


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
        report: takes the epochs done (1, 2, ...) and the validation AUC; returns whether to stop:
            then return None.
    """

    number: int
    overrides: dict[str, Any]
    seed: int
    folder: Path
    report: Callable[[int, float], bool]


# Trains a candidate and returns its validation AUC, higher is better, None where it stopped early;
# an error fails the trial. It must be picklable: workers are other processes.
Objective = Callable[[TrialContext], float | None]


def run_trial(
    topic: str, objective: Objective, number: int, overrides: dict[str, Any], seed: int, folder: Path
) -> dict[str, Any]:
    """The task: runs one trial on a worker; returns how it ended, and where."""
    worker = own_address()

    def report(epoch: int, value: float) -> bool:
        message = {"number": number, "worker": worker, "epoch": epoch, "value": float(value)}
        try:
            return bool(ask_command(topic, message))
        except TimeoutError as error:
            raise TrialLostError(f"no answer from the command of trial {number}") from error

    folder.mkdir(parents=True, exist_ok=True)
    # Where a command died, what ran then on somebody else's workers ends at its next report.
    with _ONE_AT_A_TIME, FileLock(f"{folder}.lock"):
        result = run_objective(objective, TrialContext(number, overrides, seed, folder, report))
    return {**result, "worker": worker}


def run_objective(objective: Objective, context: TrialContext) -> dict[str, Any]:
    """Runs one trial here; returns its `value`, or its `error`, or neither where it was pruned."""
    try:
        value = objective(context)
        if value is not None and not math.isfinite(value):
            raise TuningError(f"the objective returned {value}")
    except TrialLostError:
        raise
    except PosterMLError as error:  # the user's mistake: it says all
        return {"error": str(error)[:2000]}
    except Exception as error:
        (*_, frame) = traceback.extract_tb(error.__traceback__)
        where = f"(at {Path(frame.filename).name}:{frame.lineno})"
        return {"error": " ".join(f"{type(error).__name__}: {error} {where}".split())[:2000]}
    return {} if value is None else {"value": float(value)}
