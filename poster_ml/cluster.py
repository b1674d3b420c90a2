"""The one place that starts or reaches a Dask cluster, and runs tasks in order on one or on threads.

`--workers N` starts N processes on this machine that end with the command, however it ends: Dask's
workers watch their parent. `--scheduler ADDRESS` reaches a cluster that somebody else keeps; its
workers import this package, so they need the same version, and must see every path of the work.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, LocalCluster, wait

import poster_ml
from poster_ml.errors import ClusterError

T = TypeVar("T")
F = TypeVar("F")
logger = logging.getLogger(__name__)

VARIABLE = "POSTER_ML_SCHEDULER"
KILLED = "decoding it crashed its worker repeatedly"
GONE = "the scheduler is gone: start it and repeat the command to continue"
_CONNECT_SECONDS = 3
_LISTENS_SECONDS = 3  # between two looks whether any worker is left


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
    address = _address(scheduler, workers)
    with _reach(address, paths) if address else _start(workers, dashboard) as client:
        if dashboard:
            print(f"dashboard: {client.dashboard_link}", file=sys.stderr)
        yield client


@contextmanager
def _start(workers: int, dashboard: bool) -> Iterator[Client]:
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
        yield client


def is_asked(workers: int, scheduler: str, dashboard: bool = False) -> bool:
    """Whether several workers or a scheduler are asked for; without, a command does its work by itself.

    Raises: ClusterError for a dashboard of nothing.
    """
    asked = workers > 1 or bool(_address(scheduler))
    if dashboard and not asked:
        raise ClusterError(
            "--dashboard shows a cluster: name one with --scheduler, or start one with --workers 2"
        )
    return asked


@contextmanager
def _reach(address: str, paths: Sequence[Path] | None = None) -> Iterator[Client]:
    """Opens a client of a scheduler; with `paths`, where its workers can do this package's work."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters, the command says
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {address}: start one with `dask scheduler`, or leave --scheduler and "
            f"{VARIABLE} out"
        ) from error
    with client:
        if paths is not None:
            _check_versions(client, address)
            check_paths(client, paths)
        yield client


def _check_versions(client: Client, address: str) -> None:
    """Refuses a scheduler without workers, and a worker without this version of the package."""
    found = client.get_versions(packages=["poster_ml"])["workers"]
    if not found:
        raise ClusterError(f"the scheduler {address} has no workers: start some with `dask worker {address}`")
    for worker, about in sorted(found.items()):
        version = about["packages"].get("poster_ml")
        if version != poster_ml.__version__:
            here = f"this is poster-ml {poster_ml.__version__}: install it there"
            raise ClusterError(f"the worker {worker} has poster-ml {version or 'not at all'}, {here}")


def open_if_asked(
    workers: int, scheduler: str, dashboard: bool, paths: Sequence[Path]
) -> AbstractContextManager[Client | None]:
    """Returns `open_cluster` where `is_asked`, else a context of None."""
    if is_asked(workers, scheduler, dashboard):
        return open_cluster(workers, scheduler, dashboard=dashboard, paths=paths)
    return nullcontext()


def dask_setup(worker: Any) -> None:
    """Called by Dask in each worker started here: Ctrl-C reaches the whole group, and the command decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_scheduler(scheduler: str, workers: int = 1) -> None:
    """Refuses an address that no scheduler answers at, within seconds; arguments as of `open_cluster`."""
    if address := _address(scheduler, workers):
        with _reach(address):
            pass


def _missing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]


def check_paths(client: Client, paths: Sequence[Path]) -> None:
    """Refuses paths that a worker does not see. Raises: ClusterError naming the first one."""
    try:
        unseen = client.run(_missing, [str(path.resolve()) for path in paths])
    except Exception as error:
        raise ClusterError(
            f"the workers of {client.scheduler.address} cannot run this code ({error}): install the same "
            "state of it there"
        ) from error
    for worker, missing in sorted(unseen.items()):
        if missing:
            raise ClusterError(
                f"the worker {worker} does not see {missing[0]}: give a path that all machines share"
            )


def worker_count(client: Client) -> int:
    """Returns how many workers there are now: more may come, and some may go.

    A process of this machine that died is started again by its nanny, and where that failed (it
    died while it was starting) by this call.
    """
    if client.cluster is not None:
        client.cluster.scale(len(client.cluster.worker_spec))
    return len(client.nthreads())


def renew_worker(client: Client, address: str) -> None:
    """Replaces a worker's process by a fresh one, where a nanny watches it; waits until it is there."""
    with suppress(ValueError, KeyError, TimeoutError):  # no nanny; it has gone; it did not come back
        client.restart_workers([address], timeout=30, raise_for_error=False)


def map_in_order(
    workers: Client | int,
    function: Callable[[list[T]], Any],
    items: Iterable[T],
    *,
    batch: int,
    in_flight: int = 0,
) -> Iterator[tuple[list[T], Any]]:
    """Runs `function` on batches, on threads or on a cluster, and yields each with its result, in order.

    A task whose worker dies is run again by Dask, which gives it up after four deaths
    (`allowed-failures`). A batch that was given up is run again an item at a time, with nothing
    else under way: only an item that kills is blamed.

    Args:
        workers: threads of this process, at least 1; or a cluster.
        function: returns something else than None; may be run more than once.
        items: read as they are needed.
        batch: items per task, at least 1.
        in_flight: most tasks submitted and not yet yielded; 0: four for each thread here, two for
            each thread of a cluster.

    Yields: the items and what the function returned; None for an item that kills every worker.
    Raises: what the function raises; ClusterError where the scheduler is gone.
    """
    iterator = iter(items)
    parts = iter(lambda: list(islice(iterator, batch)), [])
    if not isinstance(workers, int):
        yield from _map_on(workers, function, parts, in_flight)
        return
    most = in_flight or 4 * workers
    with ThreadPoolExecutor(workers) as pool:
        try:
            for part, future in _ahead(
                deque(), lambda part: pool.submit(function, part), parts, lambda: most
            ):
                yield part, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _map_on(
    client: Client, function: Callable[[list[T]], Any], parts: Iterator[list[T]], in_flight: int
) -> Iterator[tuple[list[T], Any]]:
    under_way: deque[tuple[list[T], Future]] = deque()
    submit = partial(client.submit, function, pure=False)

    def most() -> int:
        return in_flight or 2 * max(1, sum(client.nthreads().values()))

    try:
        for part, future in _ahead(under_way, submit, parts, most):
            result = _result(client, future)
            if result is not None:
                yield part, result
                continue
            wait([other for _, other in under_way])
            for item in part:
                yield [item], _result(client, submit([item]))
    except (OSError, CancelledError) as error:
        if client.status == "running" and not isinstance(error, CancelledError):
            raise
        raise ClusterError(GONE) from error
    finally:
        with suppress(Exception):
            client.cancel([future for _, future in under_way])


def _ahead(
    under_way: deque[tuple[list[T], F]],
    submit: Callable[[list[T]], F],
    parts: Iterator[list[T]],
    most: Callable[[], int],
) -> Iterator[tuple[list[T], F]]:
    """Submits parts, so many at a time, and yields each with its future, in order."""
    while True:
        while len(under_way) < most() and (part := next(parts, None)):
            under_way.append((part, submit(part)))
        if not under_way:
            return
        yield under_way.popleft()


def _result(client: Client, future: Future) -> Any:
    """Waits for a task, also where its result died with a worker; returns None where Dask gave it up."""
    lonely = False
    while True:
        try:
            return future.result(timeout=_LISTENS_SECONDS)
        except KilledWorker:
            return None
        except TimeoutError:
            if future.status == "error":
                raise
        if worker_count(client) == 0 and not lonely:
            logger.warning("no worker is left: the work waits for one")
            lonely = True


def _address(scheduler: str, workers: int = 1) -> str:
    address = scheduler or os.environ.get(VARIABLE, "").strip()
    if address and workers > 1:
        raise ClusterError(
            f"--workers {workers} is for this machine, and the scheduler {address} has workers of its own: "
            "leave one of the two out"
        )
    return address


@contextmanager
def interrupts_held() -> Iterator[list[int]]:
    """Lets a first Ctrl-C wait, where stopping in the middle would leave something half done; a second acts.

    Yields: a list with an entry once there was one, for the block and its caller to act upon.
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
