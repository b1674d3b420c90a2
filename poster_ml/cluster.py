"""The one place that starts or reaches a Dask cluster, and what a task and its command say to each other.

`--workers N` starts N processes on this machine that end with the command, however it ends: Dask's workers
watch their parent. `--scheduler ADDRESS` reaches a cluster that somebody else keeps; its workers import this
package, so they need the same version, and must see every path of the work.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distributed import Client, Future, LocalCluster, Queue, get_client, get_worker

import poster_ml
from poster_ml.errors import ClusterError

VARIABLE = "POSTER_ML_SCHEDULER"
_CONNECT_SECONDS = 3
_LISTENS_SECONDS = 3  # a task without an answer for so long looks whether its command is still there


@contextmanager
def open_cluster(
    workers: int = 1,
    scheduler: str = "",
    *,
    dashboard: bool = False,
    paths: Sequence[Path] = (),
) -> Iterator[Client]:
    """Starts worker processes, or reaches a scheduler.

    Args:
        workers: processes on this machine, at least 1.
        scheduler: "tcp://host:8786"; empty: POSTER_ML_SCHEDULER, and without that a cluster of this machine.
        dashboard: serve Dask's dashboard on this machine, and print where.
        paths: files and folders that the workers must see.

    Yields: a client of the cluster, closed when the block ends; what was started here has ended then.
    Raises: ClusterError where the scheduler does not answer, has no workers, or they cannot do the work.
    """
    address = _address(scheduler)
    if address and workers > 1:
        raise ClusterError(
            f"--workers {workers} starts processes here, and the scheduler {address} has workers of its own: "
            "leave one of the two out"
        )
    if address:
        with _reach(address) as client:
            check_workers(client, address, paths)
            _show_dashboard(client, dashboard)
            yield client
        return
    if dashboard and importlib.util.find_spec("bokeh") is None:
        raise ClusterError("--dashboard needs bokeh: install poster-ml[dashboard]")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with interrupts_held() as interrupts:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": dashboard},
            preload=[__name__],  # `dask_setup`
            memory_limit=0,  # none: Dask would kill a training that fills its share
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        if interrupts:
            raise KeyboardInterrupt
        _show_dashboard(client, dashboard)
        yield client


def dask_setup(worker: Any) -> None:
    """Called by Dask in each worker started here: Ctrl-C reaches the whole group, and the command decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_scheduler(scheduler: str) -> None:
    """Refuses an address that no scheduler answers at, within seconds and before anything else is done.

    Args:
        scheduler: as of `open_cluster`.
    """
    if address := _address(scheduler):
        with _reach(address):
            pass


def check_workers(client: Client, address: str, paths: Sequence[Path]) -> None:
    """Refuses a cluster whose workers cannot do this package's work.

    Raises: ClusterError naming the first worker that lacks the package, has another version, or does not see
        one of the paths.
    """
    found = client.get_versions(packages=["poster_ml"])["workers"]
    if not found:
        raise ClusterError(f"the scheduler {address} has no workers: start some with `dask worker {address}`")
    for worker, about in sorted(found.items()):
        version = about["packages"].get("poster_ml")
        if version != poster_ml.__version__:
            here = f"this is poster-ml {poster_ml.__version__}: install it there"
            raise ClusterError(f"the worker {worker} has poster-ml {version or 'not at all'}, {here}")
    try:
        unseen = client.run(_missing, [str(path.resolve()) for path in paths])
    except Exception as error:
        raise ClusterError(
            f"the workers at {address} cannot run this code ({error}): install the same state of it there"
        ) from error
    for worker, missing in sorted(unseen.items()):
        if missing:
            raise ClusterError(
                f"the worker {worker} does not see {missing[0]}: give a path that all machines share"
            )


def worker_count(client: Client) -> int:
    """Returns how many workers there are now: more may come, and some may go.

    A process of this machine that died is started again by its nanny, and where that failed (it died while it
    was starting) by this call.
    """
    if client.cluster is not None:
        client.cluster.scale(len(client.cluster.worker_spec))
    return len(client.nthreads())


def renew_worker(client: Client, address: str) -> None:
    """Replaces a worker's process by a fresh one, where a nanny watches it; waits until it is there."""
    with suppress(ValueError, KeyError, TimeoutError):  # no nanny; it has gone; it did not come back
        client.restart_workers([address], timeout=30, raise_for_error=False)


class Inbox:
    """What tasks say to the command that submitted them, and their ends, in one queue."""

    def __init__(self, client: Client) -> None:
        """Opens an inbox under a name of its own."""
        self.topic = f"poster-ml-{client.id}"  # one inbox per client: how a task sees that it is gone
        self._client = client
        self._queue: queue.Queue[Any] = queue.Queue()
        client.subscribe_topic(self.topic, lambda event: self._queue.put(event[1]))

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> Future:
        """Runs `function(topic, *arguments)` on a worker, again where that worker dies."""
        unique = f"{key}-{uuid.uuid4().hex}"  # Dask would answer for a key that it has seen
        future = self._client.submit(function, self.topic, *arguments, key=unique, pure=False)
        future.add_done_callback(self._queue.put)
        return future

    def next(self, seconds: float = 2.0) -> Any:
        """Returns a task's message (a dict), or a `Future` that has ended, or None where nothing came.

        Raises: ClusterError where the scheduler is gone.
        """
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            if self._client.status != "running":
                raise ClusterError(
                    "the scheduler is gone: start it and repeat the command to continue"
                ) from None
            return None

    def answer(self, message: dict[str, Any], value: Any) -> None:
        """Answers a message of `ask_command`."""
        Queue(message["answer"], client=self._client).put(value)


def ask_command(topic: str, message: dict[str, Any]) -> Any:
    """Within a task: says something to the command and waits for the answer.

    Raises: TimeoutError where the command is gone.
    """
    name = f"{topic}-{uuid.uuid4().hex}"  # of this question: one that was killed leaves no answer to the next
    client = get_client()
    answers = Queue(name, client=client)
    get_worker().log_event(topic, {**message, "answer": name})

    def listens(dask_scheduler: Any) -> bool:
        return any(topic.endswith(command) for command in dask_scheduler.clients)

    try:
        while True:
            with suppress(TimeoutError):
                return answers.get(timeout=_LISTENS_SECONDS)
            if not client.run_on_scheduler(listens):
                raise TimeoutError(f"nobody listens to {topic}")
    finally:
        answers.close()


def own_address() -> str:
    """Within a task: returns the address of the worker that runs it."""
    return str(get_worker().address)


def _address(scheduler: str) -> str:
    return scheduler or os.environ.get(VARIABLE, "").strip()


@contextmanager
def _reach(address: str) -> Iterator[Client]:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters, the command says
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {address}: start one with `dask scheduler`, or leave --scheduler and "
            f"{VARIABLE} out"
        ) from error
    with client:
        yield client


@contextmanager
def interrupts_held() -> Iterator[list[int]]:
    """Lets a first Ctrl-C wait, where stopping in the middle would leave something half done; a second acts.

    Yields: a list with an entry once there was one, for the block to look at; what is left when it ends is
        up to the caller.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    held: list[int] = []

    def hold(number: int, frame: Any) -> None:
        if held:
            raise KeyboardInterrupt
        held.append(number)

    handler = signal.signal(signal.SIGINT, hold)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, handler)


def _show_dashboard(client: Client, wanted: bool) -> None:
    if wanted:
        print(f"dashboard: {client.dashboard_link}", file=sys.stderr)


def _missing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]
