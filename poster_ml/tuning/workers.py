"""Several workers as processes, watched: who dies is replaced, what it ran is run again.

Processes are spawned, never forked: TensorFlow does not survive a fork. A worker's process is replaced after
`Job.recycle` trials, so memory does not grow with the number of trials.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from poster_ml.errors import PosterMLError, TuningError
from poster_ml.progress import progress_bar
from poster_ml.tuning.claims import counted, release
from poster_ml.tuning.study import OpenStudy
from poster_ml.tuning.trial import WorkerStopped
from poster_ml.tuning.work import DONE, LATE, Job, new_owner, work

MISTAKE = "mistake"
STOPPED = "stopped"
DEATHS_IN_A_ROW = 10
PATIENCE = 5.0  # seconds a worker gets to end by itself


@dataclass
class Worker:
    """A running worker process."""

    owner: str
    process: SpawnProcess
    messages: Connection


@dataclass
class Watcher:
    """Keeps workers running until the study has what was asked for."""

    job: Job
    opened: OpenStudy
    after_trial: Callable[[], None]
    workers: list[Worker] = field(default_factory=list)
    deaths: int = 0
    counted: int = 0
    ended: str = ""

    def start(self) -> None:
        """Starts one worker."""
        context = multiprocessing.get_context("spawn")
        receiving, sending = context.Pipe(duplex=False)
        owner = new_owner()
        process = context.Process(target=_main, args=(self.job, owner, sending), daemon=False)
        process.start()
        sending.close()
        self.workers.append(Worker(owner, process, receiving))

    def look(self, timeout: float) -> None:
        """Waits until a worker ends, or for `timeout` seconds, and deals with those that ended."""
        wait([worker.process.sentinel for worker in self.workers], timeout)
        for worker in [worker for worker in self.workers if not worker.process.is_alive()]:
            self.workers.remove(worker)
            worker.process.join()
            kind, text = _last_message(worker.messages)
            release(self.opened, worker.owner)
            if kind == MISTAKE:
                raise TuningError(text)
            if kind in {DONE, LATE}:
                self.ended = kind
            elif kind or worker.process.exitcode is None or worker.process.exitcode < 0:
                self.replace(worker, died=not kind)
            else:
                raise TuningError(
                    f"a worker ended with exit code {worker.process.exitcode}; its own message stands above"
                )

    def replace(self, worker: Worker, died: bool) -> None:
        """Starts a worker in the place of one that was due, or was killed."""
        if died:
            self.deaths += 1
            code = worker.process.exitcode or 0
            print(f"a worker died ({signal.Signals(-code).name}); its trial is run again", file=sys.stderr)
        if self.deaths >= DEATHS_IN_A_ROW:
            raise TuningError(
                f"{self.deaths} workers died and no trial ended between: not enough memory? Use fewer "
                "--workers, a smaller batch or a smaller limit, and repeat the command to continue"
            )
        if not self.ended:
            self.start()

    def progress(self) -> int:
        """Looks how many trials count; calls back where there are more than before."""
        now = len(counted(self.opened.trials()))
        if now > self.counted:
            self.counted, self.deaths = now, 0
            self.after_trial()
        return now

    def stop(self) -> None:
        """Ends all workers: by word, then by force; what they ran can be claimed again."""
        for worker in self.workers:
            worker.process.terminate()
        end = time.monotonic() + PATIENCE
        for worker in self.workers:
            worker.process.join(max(0.0, end - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            release(self.opened, worker.owner)
        self.workers.clear()


def run_workers(
    job: Job, opened: OpenStudy, workers: int, after_trial: Callable[[], None] = lambda: None
) -> str:
    """Runs a study with several processes until it has `job.trials` counted trials.

    Args:
        job: what each worker does.
        opened: the study, for watching it.
        workers: processes, at least 1.
        after_trial: called in this process when more trials count than before.

    Returns: "done", or "late" where the deadline came first. A study that has enough already starts nobody.
    Raises: TuningError where three trials in a row failed, or ten workers died without a trial between;
        KeyboardInterrupt after all workers were ended. Finished trials are kept in every case.
    """
    watcher = Watcher(job, opened, after_trial, counted=len(counted(opened.trials())))
    missing = job.trials - watcher.counted
    if missing <= 0:
        return DONE
    with progress_bar(job.trials, "trials", initial=watcher.counted) as bar:
        try:
            for _ in range(min(workers, missing)):
                watcher.start()
            while watcher.workers:
                watcher.look(timeout=1.0)
                bar.update(watcher.progress() - bar.n)
        finally:
            watcher.stop()
            watcher.progress()
    return watcher.ended or DONE


def _main(job: Job, owner: str, messages: Connection) -> None:
    """The worker process: works, says how it ended, and ends when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        messages.send((work(job, owner), ""))
    except PosterMLError as error:
        messages.send((MISTAKE, str(error)))
    except WorkerStopped:
        messages.send((STOPPED, ""))


def _stop(number: int, frame: FrameType | None) -> None:
    raise WorkerStopped


def _end_with_parent() -> None:
    """Waits for the parent's end, then asks this process to stop, then makes it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def _last_message(messages: Connection) -> tuple[str, str]:
    """Reads how a worker ended; empty where it could not say."""
    try:
        if messages.poll():
            kind, text = messages.recv()
            return str(kind), str(text)
    except (EOFError, OSError):
        pass
    finally:
        messages.close()
    return "", ""
