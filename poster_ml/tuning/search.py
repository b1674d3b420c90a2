"""The search: this process owns the study, asks and tells; trials run as tasks of a Dask cluster.

A trial reports each epoch to the command and is told whether to stop, so one process touches the storage. A
task whose worker dies is run again by Dask, with the same settings, seed and checkpoints. Where the command
dies its trials stay in state running, and the next command takes them up.
"""

from __future__ import annotations

import logging
import math
import shutil
import socket
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.trial import TrialState

from poster_ml.cluster import Client, Inbox, ask_command, own_address, renew_worker, worker_count
from poster_ml.config import SearchSpace
from poster_ml.errors import PosterMLError, TuningError
from poster_ml.progress import progress_bar
from poster_ml.seeding import derive_seed
from poster_ml.tuning.space import Primitive, suggest
from poster_ml.tuning.study import OpenStudy
from poster_ml.tuning.trial import Objective, PrunedError, TrialContext, TrialLostError

logger = logging.getLogger(__name__)
FAILURES_IN_A_ROW = 3
RESULT_SECONDS = 5
LOST = "lost"  # a task that had no answer from the command
_ONE_AT_A_TIME = threading.Lock()  # in one worker process: Keras has global state


@dataclass(frozen=True)
class Job:
    """What a search runs.

    Attributes:
        space: what is drawn.
        objective: what is run.
        trials: counted trials (finished or pruned) that the study is to have in all.
        folder: trials get a folder for checkpoints under it; all workers see it.
        points: settings tried first.
        paths: folders that every worker must see.
        deadline: seconds since the epoch after which no trial is begun; 0: none.
        renew_after: trials after which a worker's process is replaced, since memory grows with every model
            that Keras builds; the price is one import of the backend per so many trials.
    """

    space: SearchSpace
    objective: Objective
    trials: int
    folder: Path
    points: tuple[Mapping[str, Primitive], ...] = ()
    paths: tuple[Path, ...] = ()
    deadline: float = 0.0
    renew_after: int = 10

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return bool(self.deadline) and time.time() > self.deadline


@dataclass
class Failures:
    """Ends a search whose objective is broken: the errors since the last trial that counted."""

    errors: list[str] = field(default_factory=list)

    def note(self, number: int, error: str) -> None:
        """Takes the error of a trial that ended; "" where it counts."""
        self.errors = [*self.errors, f"trial {number}: {error}"] if error else []

    def check(self) -> None:
        """Raises TuningError where three trials in a row have failed."""
        if len(self.errors) >= FAILURES_IN_A_ROW:
            raise TuningError(
                f"{FAILURES_IN_A_ROW} trials in a row failed, the last one {self.errors[-1]}; fix it and "
                "repeat the command to continue"
            )


def run_search(
    job: Job, opened: OpenStudy, client: Client, after_trial: Callable[[], None] = lambda: None
) -> None:
    """Runs trials until the study has `job.trials` counted ones, or the deadline has passed.

    Args:
        job: what to run.
        opened: the study, locked by this command.
        client: of the cluster; one trial at a time runs on each of its workers.
        after_trial: called when a trial has ended.

    Raises: TuningError where three trials in a row failed; ClusterError where the scheduler is gone.
        Trials that ended are kept in every case, those that run stay running for the next command.
    """
    for point in job.points:
        opened.study.enqueue_trial(dict(point), skip_if_exists=True)
    search = _Search(job, opened, client)
    with progress_bar(job.trials, "trials", initial=opened.counted()) as bar:
        while search.begin_trials() or search.running:
            if search.handle(search.inbox.next()):
                bar.update(opened.counted() - bar.n)
                after_trial()
                search.failures.check()


@dataclass
class _Running:
    """A trial under way.

    `epoch` is the last one it reported, `since` what that was when its task was submitted, and `attempt`
    names the task's run that reported last.
    """

    trial: optuna.Trial
    overrides: dict[str, Any]
    future: Any = None
    epoch: int = 0
    since: int = 0
    attempt: str = ""


class _Search:
    """The trials under way, and what follows from what their tasks say."""

    def __init__(self, job: Job, opened: OpenStudy, client: Client) -> None:
        self.job, self.opened, self.client = job, opened, client
        self.inbox = Inbox(client)
        self.running: dict[int, _Running] = {}
        self.nobodys = [trial.number for trial in opened.trials(TrialState.RUNNING)]
        self.failures = Failures()
        self.ended_by: Counter[str] = Counter()
        self.lonely = False

    def begin_trials(self) -> bool:
        """Begins trials while workers are free; returns whether there is more to begin."""
        while not self.job.late and self.opened.counted() + len(self.running) < self.job.trials:
            for worker in [name for name, ended in self.ended_by.items() if ended >= self.job.renew_after]:
                del self.ended_by[worker]
                renew_worker(self.client, worker)
            workers = worker_count(self.client)
            if workers == 0 and not self.lonely:
                logger.warning("no worker is left: the search waits for one")
            self.lonely = workers == 0
            if len(self.running) >= workers:
                return True
            trial = self.opened.resume(self.nobodys.pop(0)) if self.nobodys else self.opened.ask()
            trial.set_user_attr("seed", derive_seed(self.opened.spec.seed, "trial", trial.number))
            self.running[trial.number] = _Running(trial, suggest(trial, self.job.space))
            self._submit(trial.number)
        return False

    def handle(self, event: Any) -> bool:
        """Deals with a report, or with a task that has ended; returns whether its trial has."""
        if isinstance(event, dict):
            self._report(event)
        elif event is not None:
            return self._end(event)
        return False

    def _submit(self, number: int) -> None:
        one = self.running[number]
        one.since = one.epoch
        seed, folder = one.trial.user_attrs["seed"], self._folder(number)
        one.future = self.inbox.submit(
            f"trial-{number}-{uuid.uuid4().hex[:8]}",
            run_trial, self.job.objective, number, one.overrides, seed, folder,
        )  # fmt: skip

    def _report(self, message: dict[str, Any]) -> None:
        one = self.running.get(message["number"])
        if one is None:
            return
        if one.attempt not in ("", message["attempt"]):
            print(f"a worker died; its trial {message['number']} was run again", file=sys.stderr)
        one.attempt, one.epoch = message["attempt"], max(one.epoch, message["epoch"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an epoch that was reported before the death
            one.trial.report(message["value"], message["epoch"])
        self.inbox.answer(message, one.trial.should_prune())

    def _end(self, future: Any) -> bool:
        number = next((number for number, one in self.running.items() if one.future is future), None)
        if number is None:
            return False
        try:
            result = future.result(timeout=RESULT_SECONDS)
        except TimeoutError:  # its worker died after the end of the trial, with the result
            result = {"error": LOST}
        except Exception as error:  # Dask gives a task up whose workers died again and again
            detail = f"its workers died, not enough memory? Use fewer --workers ({describe(error)})"
            # One that got on between the deaths is not to blame for them.
            result = {"error": LOST if self.running[number].epoch > self.running[number].since else detail}
        if result.get("error") == LOST:
            self._submit(number)
            return False
        trial = self.running.pop(number).trial
        self.ended_by[result.pop("worker", "")] += 1
        value, pruned, failed = (
            result.pop("value", None),
            result.pop("pruned", False),
            result.get("error", ""),
        )
        for key, note in result.items():
            trial.set_user_attr(key, note)
        state = TrialState.FAIL if failed else TrialState.PRUNED if pruned else TrialState.COMPLETE
        self.opened.study.tell(trial, value, state=state)
        shutil.rmtree(self._folder(number), ignore_errors=True)  # only now: whoever dies before continues
        Path(f"{self._folder(number)}.lock").unlink(missing_ok=True)
        self.failures.note(number, failed)
        return True

    def _folder(self, number: int) -> Path:
        return self.job.folder / f"trial-{number:04d}"


def run_trial(
    topic: str, objective: Objective, number: int, overrides: dict[str, Any], seed: int, folder: Path
) -> dict[str, Any]:
    """The task: runs one trial on a worker; returns how it ended, and where."""
    attempt = uuid.uuid4().hex

    def report(epoch: int, value: float) -> bool:
        message = {"number": number, "attempt": attempt, "epoch": epoch, "value": float(value)}
        try:
            return bool(ask_command(topic, message))
        except TimeoutError as error:
            raise TrialLostError(f"no answer from the command of trial {number}") from error

    folder.mkdir(parents=True, exist_ok=True)
    # Where a command died, what ran then on somebody else's workers ends at its next report.
    with _ONE_AT_A_TIME, FileLock(f"{folder}.lock"):
        result = run_objective(objective, TrialContext(number, overrides, seed, folder, report))
    return {**result, "worker": own_address()}


def run_objective(objective: Objective, context: TrialContext) -> dict[str, Any]:
    """Runs one trial here; returns its `value`, or `pruned`, or its `error`, and notes on the process."""
    try:
        value = float(objective(context))
        if not math.isfinite(value):
            raise TuningError(f"the objective returned {value}")
        result: dict[str, Any] = {"value": value}
    except PrunedError:
        result = {"pruned": True}
    except TrialLostError:
        result = {"error": LOST}
    except Exception as caught:
        result = {"error": describe(caught)[:2000]}
    memory = round(psutil.Process().memory_info().rss / 2**20)
    return {**result, "machine": socket.gethostname(), "memory_mib": memory}


def describe(error: BaseException) -> str:
    """Says in one line what went wrong; for what is not the user's mistake, where."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, PosterMLError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"
