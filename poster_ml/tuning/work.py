"""One worker: claims trials and runs them until the study has what was asked for."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from poster_ml.config import SearchSpace
from poster_ml.errors import PosterMLError, TuningError
from poster_ml.tuning.claims import (
    ERROR,
    INTERRUPTED,
    Claim,
    Watch,
    check_failures,
    claim,
    counted,
    fail,
    fail_dead,
)
from poster_ml.tuning.space import Primitive, suggest
from poster_ml.tuning.study import OpenStudy, StudySpec, open_study
from poster_ml.tuning.trial import Objective, PrunedError, TrialContext, TrialLostError

DONE = "done"
RECYCLE = "recycle"
LATE = "late"
MORE_OVERRIDES = "more_overrides"  # of one trial, beyond the space: KerasTuner's Hyperband sets its epochs


@dataclass(frozen=True)
class Job:
    """What every worker of a command gets; picklable.

    Attributes:
        spec: the study.
        space: what is drawn.
        objective: what is run.
        trials: counted trials the study is to have in all.
        folder: trials get a folder for checkpoints under it.
        points: settings tried first.
        deadline: seconds since the epoch after which no trial is begun; 0: none.
        recycle: trials after which a worker's process is replaced, since memory grows with every model that
            Keras builds; the price is one import of the backend per so many trials.
        since: number of trials the study had when the command began.
        poll: seconds between looks while all places are taken and others run.
    """

    spec: StudySpec
    space: SearchSpace
    objective: Objective
    trials: int
    folder: Path
    points: tuple[Mapping[str, Primitive], ...] = ()
    deadline: float = 0.0
    recycle: int = 10
    since: int = 0
    poll: float = 0.5


def new_owner() -> str:
    """Makes a name that no other worker process has, on any machine."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def work(job: Job, owner: str) -> str:
    """Runs trials until the budget is met, the deadline has passed or the process is due for replacement.

    Returns: `DONE`, `LATE` or `RECYCLE`.
    Raises: TuningError where three trials in a row failed, or the storage cannot be used.
    """
    opened = open_study(job.spec)
    with opened.storage.present(owner):
        return _work(opened, job, owner)


def _work(opened: OpenStudy, job: Job, owner: str) -> str:
    watch = Watch()
    ran = 0
    while True:
        trials = opened.trials()
        if len(counted(trials)) >= job.trials:
            return DONE
        check_failures(trials, job.since)
        if job.deadline and time.time() > job.deadline:
            return LATE
        if ran >= job.recycle:
            return RECYCLE
        claimed = claim(opened, job.trials, owner, job.points, watch)
        if claimed is None:  # all places are taken, but who has one may die
            time.sleep(job.poll)
            fail_dead(opened, watch)
            continue
        run_trial(opened, job, claimed)
        ran += 1


def run_trial(opened: OpenStudy, job: Job, claimed: Claim) -> None:
    """Runs one claimed trial to an end state; only what stops the whole worker is raised."""
    study = opened.study
    with _heartbeat(opened, claimed.trial_id):
        try:
            trial = opened.trial(claimed.trial_id, claimed.number)
            context = _context(trial, job, claimed)
            value = float(job.objective(context))
            if not math.isfinite(value):
                raise TuningError(f"the objective returned {value}")
            _tell(study, trial, value, TrialState.COMPLETE)
        except PrunedError:
            _tell(study, trial, None, TrialState.PRUNED)
        except (TrialLostError, UpdateFinishedTrialError):
            pass  # another worker has taken it over; its result counts, not this one
        except Exception as error:
            _fail(opened, claimed.number, ERROR, describe(error))
        except BaseException:
            _fail(opened, claimed.number, INTERRUPTED, "")
            raise


def describe(error: BaseException) -> str:
    """Says in one line what went wrong; for what is not the user's mistake, where."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, PosterMLError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"


def _context(trial: optuna.Trial, job: Job, claimed: Claim) -> TrialContext:
    """Draws the trial's settings and makes what its objective sees."""
    trial.set_user_attr("machine", socket.gethostname())
    overrides = suggest(trial, job.space) | trial.user_attrs.get(MORE_OVERRIDES, {})
    folder = job.folder / f"trial-{claimed.root:04d}"
    folder.mkdir(parents=True, exist_ok=True)

    def report(epoch: int, value: float) -> bool:
        try:
            trial.report(value, step=epoch)
            return trial.should_prune()
        except UpdateFinishedTrialError as error:
            raise TrialLostError(f"trial {claimed.number} was given to another worker") from error

    def note(key: str, value: Any) -> None:
        try:
            trial.set_user_attr(key, value)
        except UpdateFinishedTrialError as error:
            raise TrialLostError(f"trial {claimed.number} was given to another worker") from error

    return TrialContext(
        number=claimed.number,
        root=claimed.root,
        attempt=claimed.attempt,
        overrides=overrides,
        seed=claimed.seed,
        folder=folder,
        report=report,
        note=note,
    )


def _tell(study: optuna.Study, trial: optuna.Trial, value: float | None, state: TrialState) -> None:
    """Ends a trial; one that was given to another worker meanwhile stays as it is."""
    try:
        trial.set_user_attr("memory_mib", round(psutil.Process().memory_info().rss / 2**20))
        study.tell(trial, value, state=state)
    except (ValueError, UpdateFinishedTrialError):
        if study.trials[trial.number].state == TrialState.RUNNING:
            raise


def _fail(opened: OpenStudy, number: int, why: str, error: str) -> None:
    trial = next(trial for trial in opened.trials() if trial.number == number)
    if trial.state == TrialState.RUNNING:
        fail(opened, trial, why, error)


@contextmanager
def _heartbeat(opened: OpenStudy, trial_id: int) -> Iterator[None]:
    """Gives signs of life for as long as a trial runs, where the storage takes them.

    The first one is noted with the trial ("beating"): from then on Optuna's rule for stale trials holds.
    """
    storage = opened.storage.optuna
    if not isinstance(storage, RDBStorage):
        yield
        return
    storage.record_heartbeat(trial_id)
    storage.set_trial_user_attr(trial_id, "beating", True)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(opened.storage.heartbeat):
            try:
                storage.record_heartbeat(trial_id)
            except Exception:  # the server may be restarting: the next beat may reach it
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
