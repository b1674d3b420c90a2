"""Starting and reaching a cluster, and what is said where that is impossible."""

import json
import os
import signal
import subprocess
import sys
import time
from threading import Timer

import dask
import pytest

import poster_ml
from poster_ml.cluster import (
    VARIABLE,
    Client,
    is_asked,
    map_in_order,
    open_cluster,
    worker_count,
)
from poster_ml.cluster_inbox import Inbox, ask_command
from poster_ml.errors import ClusterError
from poster_ml.pipeline.tune_options import TuneOptions
from tests.programs import wait_for
from tests.refusals import refusal
from tests.tuning.command import workers_of


@pytest.fixture(scope="module")
def pair():
    """A client of two worker processes; a task is given up at the second death of its worker."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), open_cluster(2) as client:
        assert worker_count(client) == len(set(client.run(os.getpid).values()) - {os.getpid()}) == 2
        yield client


@pytest.fixture(scope="module")
def address():
    with open_cluster(1) as client:
        yield client.scheduler.address


def test_the_dashboard_is_said_or_what_it_needs(address, capsys, monkeypatch):
    with open_cluster(scheduler=address, dashboard=True):
        assert capsys.readouterr().err.startswith("dashboard: http://127.0.0.1:")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = r"--dashboard needs bokeh: install poster-ml\[dashboard\]"
    with pytest.raises(ClusterError, match=said), open_cluster(dashboard=True):
        pass


def spawned() -> set[int]:
    """The worker processes of this one, by number."""
    return {worker.pid for worker in workers_of(os.getpid())}


def test_a_process_that_dies_while_it_starts_is_started_again():
    """Dask's nanny gives up then."""

    before = spawned()
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}), open_cluster(1) as client:
        first = spawned() - before
        os.kill(min(first), signal.SIGKILL)
        os.kill(min(wait_for(lambda: spawned() - before - first)), signal.SIGKILL)
        wait_for(lambda: worker_count(client))
        assert client.submit(abs, -1).result(timeout=60) == 1


def ask(topic: str, word: str) -> str:
    return str(ask_command(topic, {"word": word}))


def test_a_task_asks_its_command(address, monkeypatch):
    monkeypatch.setenv(VARIABLE, address)
    with open_cluster() as client:
        inbox = Inbox(client)
        future = inbox.submit("question", ask, "light")
        message = inbox.next(20)
        assert message["word"] == "light"
        inbox.answer(message, "on")
        assert inbox.next(20) is future
        assert future.result() == "on"
        assert inbox.next(0.01) is None


def test_a_scheduler_that_does_not_answer_is_said_in_one_line():
    assert refusal(ClusterError, TuneOptions, trials=1, scheduler="tcp://127.0.0.1:1") == (
        "no scheduler answers at tcp://127.0.0.1:1: start one with `dask scheduler`, or leave --scheduler and "
        "POSTER_ML_SCHEDULER out"
    )


def test_workers_that_cannot_do_the_work_are_refused(address, monkeypatch, tmp_path):
    def refuse(said: str, *arguments: object, **options: object) -> None:
        with pytest.raises(ClusterError, match=said), open_cluster(*arguments, **options):
            pass

    gone = [tmp_path, tmp_path / "gone"]
    refuse(r"the worker tcp://\S+ does not see .*/gone: give a path that all", scheduler=address, paths=gone)
    real = poster_ml.__version__
    with monkeypatch.context() as patch:
        patch.setattr(poster_ml, "__version__", "99")
        refuse(rf"has poster-ml {real}, this is poster-ml 99: install it there", scheduler=address)
    with open_cluster(scheduler=address) as client:
        client.retire_workers()
        refuse(r"has no workers: start some with `dask worker tcp://", scheduler=address)


def squares(numbers: list[int]) -> list[int]:
    """A task; 13 kills its worker, and the first ones take the longest."""
    if 13 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01 / (1 + min(numbers)))
    return [number**2 for number in numbers]


def test_results_come_in_order_and_few_tasks_are_under_way(pair):
    read: list[int] = []
    items = (read.append(number) or number for number in range(20, 220))
    done: list[int] = []
    for batch, results in map_in_order(pair, squares, items, batch=5, in_flight=3):
        done += results
        assert results == [number**2 for number in batch]
        assert len(read) <= len(done) + 15
        assert len(pair.futures) <= 4
    assert done == [number**2 for number in range(20, 220)]
    assert list(map_in_order(pair, squares, [], batch=5)) == []


def test_threads_do_what_a_cluster_does():
    expected = [([20, 21], [400, 441]), ([22], [484])]
    for threads in (1, 3):
        assert list(map_in_order(threads, squares, [20, 21, 22], batch=2)) == expected
        with pytest.raises(OSError, match="No space left"):
            list(map_in_order(threads, fail, range(50), batch=1))


def fail(numbers: list[int]) -> None:
    raise OSError(28, "No space left on device")


def test_an_error_of_a_task_is_that_of_the_command_and_the_rest_is_given_up(pair):
    with pytest.raises(OSError, match="No space left"):
        list(map_in_order(pair, fail, range(50), batch=1))
    assert not any(pair.processing().values())


def wait_and_say(numbers: list[int]) -> list[int]:
    time.sleep(0.2)
    return numbers


def test_a_worker_that_is_killed_costs_no_item_and_doubles_none(pair):
    found: list[int] = []
    for batch, results in map_in_order(pair, wait_and_say, range(60), batch=2):
        if batch[0] in (10, 30):
            os.kill(next(iter(pair.run(os.getpid).values())), signal.SIGKILL)
        found += results
    assert found == list(range(60))


def test_only_the_item_that_kills_every_worker_is_given_up(pair):
    found = dict(
        pair
        for batch, results in map_in_order(pair, squares, range(24), batch=4)
        for pair in zip(batch, results or [None], strict=True)
    )
    assert list(found) == list(range(24))
    assert [number for number, square in found.items() if square is None] == [13]


def test_a_scheduler_that_goes_is_said(tmp_path):
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    command += ["--scheduler-file", str(tmp_path / "file")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
        file = tmp_path / "file"
        address = json.loads(wait_for(lambda: file.exists() and file.read_text()))["address"]
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), Client(address) as client:
            results = map_in_order(client, wait_and_say, range(9), batch=1)
            Timer(2, scheduler.kill).start()
            with pytest.raises(ClusterError, match="the scheduler is gone: start it and repeat the command"):
                next(results)


def test_what_asks_for_a_cluster(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not is_asked(1, "")
    assert is_asked(2, "")
    assert is_asked(1, "tcp://host:8786")
    with pytest.raises(ClusterError, match="--dashboard shows a cluster: name one with --scheduler"):
        is_asked(1, "", dashboard=True)
    monkeypatch.setenv(VARIABLE, "tcp://host:8786")
    assert is_asked(1, "")
