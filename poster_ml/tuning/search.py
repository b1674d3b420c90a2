"""The search: this process owns the study, asks and tells; trials run as tasks of a Dask cluster.

A trial reports each epoch to the command and is told whether to stop, so one process touches the storage. A
task whose worker dies is run again by Dask, with the same settings, seed and checkpoints. Where the command
dies its trials stay in state running, and the next command takes them up.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from poster_ml.cluster import Client, interrupts_held, renew_worker, worker_count
from poster_ml.cluster_inbox import Inbox
from poster_ml.progress import progress_bar
from poster_ml.search_space import SearchSpace
from poster_ml.seeding import derive_seed
from poster_ml.tuning.space import Primitive, suggest
from poster_ml.tuning.study import OpenStudy
from poster_ml.tuning.trial import Objective, TrialLostError, run_trial

logger = logging.getLogger(__name__)
RESULT_SECONDS = 5


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
    counted = opened.counted()
    # Ctrl-C waits for the end of a step: the storage is never left in the middle of one.
    with progress_bar(job.trials, "trials", initial=counted) as bar, interrupts_held() as interrupts:
        while search.begin_trials() or search.running:
            event = search.inbox.next()
            if isinstance(event, dict):
                search.report(event)
            elif event is not None and search.end(event):
                bar.update(opened.counted() - bar.n)
                after_trial()
                opened.check_failures()
            if interrupts:
                raise KeyboardInterrupt


@dataclass
class _Running:
    """A trial under way: its task, where that reported last, the last epoch, and that of the task's begin."""

    trial: optuna.Trial
    overrides: dict[str, Any]
    future: Any = None
    worker: str = ""
    epoch: int = 0
    since: int = 0


class _Search:
    """The trials under way, and what follows from what their tasks say."""

    def __init__(self, job: Job, opened: OpenStudy, client: Client) -> None:
        self.job, self.opened, self.client = job, opened, client
        self.inbox = Inbox(client)
        self.running: dict[int, _Running] = {}
        self.nobodys = [trial.number for trial in opened.trials(TrialState.RUNNING)]
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
            self._submit(self.running[trial.number])
        return False

    def report(self, message: dict[str, Any]) -> None:
        """Writes what a trial reports to the study, and answers whether it is to stop."""
        one = self.running.get(message["number"])
        if one is None:  # it has ended, and was run again where its result died: it stops
            self.inbox.answer(message, True)
            return
        if one.worker not in ("", message["worker"]):
            print(f"a worker died; its trial {message['number']} was run again", file=sys.stderr)
        one.worker, one.epoch = message["worker"], max(one.epoch, message["epoch"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an epoch that was reported before the death
            one.trial.report(message["value"], message["epoch"])
        self.inbox.answer(message, one.trial.should_prune())

    def end(self, future: Any) -> bool:
        """Tells the study how the trial of a task ended; False where it has to run again."""
        one = next(one for one in self.running.values() if one.future is future)
        try:
            result = future.result(timeout=RESULT_SECONDS)
        except (TimeoutError, TrialLostError):  # a worker died with it; a task had no answer
            return self._submit(one)
        except Exception as error:  # Dask gives a task up whose workers died again and again
            if one.epoch > one.since:  # it got on between the deaths: not to blame for them
                return self._submit(one)
            named = f"{type(error).__name__}: {error}"
            result = {"error": f"its workers died, not enough memory? Use fewer --workers ({named})"}
        future.release()  # or Dask would run it again when its worker is renewed
        del self.running[one.trial.number]
        self.ended_by[result.get("worker", "")] += 1
        self.opened.tell(one.trial, result)
        folder = self._folder(one.trial)
        shutil.rmtree(folder, ignore_errors=True)  # only now: whoever dies before continues
        Path(f"{folder}.lock").unlink(missing_ok=True)
        return True

    def _submit(self, one: _Running) -> bool:
        number, seed = one.trial.number, one.trial.user_attrs["seed"]
        task = (run_trial, self.job.objective, number, one.overrides, seed, self._folder(one.trial))
        one.since, one.future = one.epoch, self.inbox.submit(f"trial-{number}", *task)
        return False

    def _folder(self, trial: optuna.Trial) -> Path:
        return self.job.folder / f"trial-{trial.number:04d}"
