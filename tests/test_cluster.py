"""Starting and reaching a cluster, and what is said where that is impossible."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import dask
import pytest

import poster_ml
from poster_ml.cluster import VARIABLE, Inbox, ask_command, open_cluster, worker_count
from poster_ml.errors import ClusterError
from poster_ml.pipeline.tune_options import TuneOptions
from tests.refusals import refusal
from tests.tuning.command import workers_of


@pytest.fixture(scope="module")
def address():
    with open_cluster(1) as client:
        yield client.scheduler.address


def test_processes_of_this_machine_run_the_work():
    with open_cluster(2) as client:
        assert worker_count(client) == 2
        processes = set(client.run(os.getpid).values())
        assert len(processes) == 2
        assert os.getpid() not in processes


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

    def wait_for(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + 60
        while not (found := condition()):
            assert time.monotonic() < end
            time.sleep(0.05)
        return found

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
    refuse(r"--workers 2 starts processes here, .* leave one of the two out", 2, address)
    real = poster_ml.__version__
    with monkeypatch.context() as patch:
        patch.setattr(poster_ml, "__version__", "99")
        refuse(rf"has poster-ml {real}, this is poster-ml 99: install it there", scheduler=address)
    with open_cluster(scheduler=address) as client:
        client.retire_workers()
        refuse(r"has no workers: start some with `dask worker tcp://", scheduler=address)
