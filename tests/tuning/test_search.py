"""The search on real worker processes: exact counts, deaths, continuation, and what a trial is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Timer
from typing import Any

import dask
import psutil
import pytest

from poster_ml.cluster import Client, open_cluster
from poster_ml.errors import TuningError
from poster_ml.search_space import SearchSpace
from poster_ml.tuning.results import FAILED, FINISHED, INTERRUPTED, PRUNED, trials_table
from poster_ml.tuning.search import Job, run_search
from poster_ml.tuning.storage import study_lock
from poster_ml.tuning.study import open_study
from poster_ml.tuning.trial import TrialContext, TrialLostError
from tests.programs import wait_for
from tests.tuning.command import ROOT, Command, workers_of
from tests.tuning.surrogates import SurrogateObjective


@pytest.fixture(scope="module")
def client():
    with open_cluster(2) as client:
        yield client


def whole(opened: Any) -> list[Any]:
    """All there is to say about the trials, which are finished: the same in a search that was disturbed."""
    assert {trial.state.name for trial in opened.trials()} == {"COMPLETE"}
    return [(trial.params, trial.user_attrs["seed"], trial.value) for trial in opened.trials()]


@pytest.fixture(scope="module")
def calm(client, tmp_path_factory):
    """Six trials of a search that nothing disturbs, as of `whole`."""
    return whole(Command(tmp_path_factory.mktemp("calm")).finish(6, client))


def states(opened: Any, space: SearchSpace) -> list[str]:
    return list(trials_table(opened, space)["state"])


def test_a_study_has_exactly_what_was_asked_for_and_is_extended_by_a_higher_number(
    client, spec, space, tmp_path
):
    ledger = tmp_path / "ledger"
    points = ({"model.dropout": 0.5, "model.unfreeze": 3}, {"model.dropout": 0.1})
    for trials, expected in ((3, 3), (3, 3), (2, 3), (6, 6)):
        opened = open_study(spec)
        job = Job(space, SurrogateObjective(2, 0.0, ledger), trials, tmp_path / "work", points)
        run_search(job, opened, client)
        assert opened.counted() == expected
        assert ledger.read_text().count("begin") == expected
    table = trials_table(opened, space)
    assert list(table["model.dropout"][:2]) == [0.5, 0.1], "own settings come first"
    assert table["model.unfreeze"][0] == 3
    assert table["seed"].is_unique
    assert table["train.learning_rate"].is_unique
    run_search(replace(job, trials=9, deadline=time.time() - 1), opened, client)
    assert opened.counted() == 6, "after the deadline no trial begins"


def test_the_worse_are_pruned_at_once(client, spec, space, tmp_path):
    """The answer belongs to the epoch that was reported: a pruned trial runs no further one."""
    ledger = tmp_path / "ledger"
    opened = open_study(replace(spec, prune_after=2))
    run_search(Job(space, SurrogateObjective(6, 0.0, ledger), 10, tmp_path / "work"), opened, client)
    table = trials_table(opened, space)
    pruned = table[table["state"] == PRUNED]
    assert len(pruned)
    for number, epochs in zip(pruned["number"], pruned["epochs"], strict=True):
        assert ledger.read_text().count(f"epoch {number} ") == epochs < 6


def test_killed_workers_and_a_killed_command_lose_and_double_nothing(client, command, calm):
    process = command.start(trials=6, workers=2, seconds=0.3)
    command.wait_for("epoch", 3)
    workers_of(process.pid)[0].kill()
    command.wait_for("end", 2)
    workers = workers_of(process.pid)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(workers, timeout=15)[1] == [], "workers end with their command"
    assert any(trial.state.is_finished() for trial in command.opened().trials())
    assert whole(command.finish(6, client)) == calm
    epochs = command.lines("epoch")
    assert len(epochs) <= 6 * 6 + 3, "of each killed trial only the epoch in hand is run twice"
    assert len(set(epochs)) == 6 * 6


def test_ctrl_c_ends_quickly_and_what_ran_continues(client, command, space, calm):
    process = command.start(trials=4, workers=2, seconds=0.2)
    command.wait_for("end", 2)
    workers, began = workers_of(process.pid), time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode != 0
    assert err.count("Traceback") == 1, err  # the command's own; the command line makes 130 of it
    assert psutil.wait_procs(workers, timeout=15)[1] == []
    assert set(states(command.opened(), space)) <= {FINISHED, INTERRUPTED}
    assert whole(command.finish(4, client)) == calm[:4]


def deadly(trial: TrialContext) -> float:
    """As if the first trial took all memory."""
    if trial.number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_a_trial_that_kills_every_worker_is_given_up_and_workers_are_renewed(spec, space, tmp_path):
    """Renewed after so many trials, since every model that Keras builds leaves memory behind."""
    opened = open_study(spec)
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), open_cluster(1) as client:
        run_search(Job(space, deadly, 4, tmp_path / "work", renew_after=2), opened, client)
    table = trials_table(opened, space)
    assert list(table["state"]) == [FAILED] + [FINISHED] * 4
    assert table["error"][0].startswith(
        "its workers died, not enough memory? Use fewer --workers (KilledWorker: "
    )
    processes = list(table["val_auc"][1:])
    assert len(set(processes)) > 1
    assert max(map(processes.count, processes)) == 2


def test_what_ended_on_a_renewed_worker_is_not_waited_for(spec, space, tmp_path):
    """Dask runs a task again whose result goes with its worker; its reports are of a trial that has ended."""
    opened, ledger = open_study(spec), tmp_path / "ledger"
    with open_cluster(1) as client:
        patience = Timer(120, client.close)  # in place of a test that never ends
        patience.start()
        objective = SurrogateObjective(2, 0.0, ledger)
        run_search(Job(space, objective, 5, tmp_path / "work", renew_after=1), opened, client)
        patience.cancel()
    assert opened.counted() == 5
    assert ledger.read_text().count("end") == 5


def no_number(trial: TrialContext) -> float:
    return float("nan")


def without_answer(trial: TrialContext) -> float:
    if trial.number == 0 and not (trial.folder / "lost").exists():
        (trial.folder / "lost").touch()
        raise TrialLostError
    return 0.6


def test_a_broken_objective_ends_with_its_error_a_fixed_one_continues(client, spec, space, tmp_path):
    def run(objective: Callable[[TrialContext], float]) -> None:
        run_search(Job(space, objective, 2, tmp_path / "work"), opened, client)

    opened = open_study(spec)
    with pytest.raises(TuningError) as caught:
        run(SurrogateObjective(broken=True))
    text = str(caught.value)
    assert text.startswith("3 trials in a row failed, the last one trial ")
    assert "RuntimeError: the objective is broken (at surrogates.py:" in text
    assert text.endswith("; fix it and repeat the command to continue")
    opened = open_study(spec)
    with pytest.raises(TuningError, match=r"3 trials in a row failed.* the objective returned nan"):
        run(no_number)
    opened = open_study(spec)
    run(SurrogateObjective(2))
    assert states(opened, space).count(FAILED) >= 6
    assert states(opened, space).count(FINISHED) == 2
    opened = open_study(replace(spec, name="lost"))
    run(without_answer)
    assert states(opened, space) == [FINISHED] * 2, "a trial without an answer runs again"


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_second_command_on_a_study_is_refused_until_the_first_is_gone(tmp_path, kind, request):
    storage = str(tmp_path / "optuna.db") if kind == "file" else request.getfixturevalue("postgres")
    hold = f"""
import time
from poster_ml.tuning.storage import study_lock
with study_lock({storage!r}, "study"):
    print("held", flush=True)
    time.sleep(120)
"""
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TuningError) as caught, study_lock(storage, "study"):
            pass
        assert str(caught.value) == (
            f"another command works on study 'study' in {storage} now: wait for it to end, add workers to its "
            "--scheduler, or give another --study name"
        )
        with study_lock(storage, "another"):
            pass
    finally:
        other.kill()
        other.communicate()

    def free() -> bool:
        with suppress(TuningError), study_lock(storage, "study"):
            return True
        return False

    wait_for(free)  # a server takes a moment to see that its client is gone


def test_workers_of_other_folders_and_a_postgresql_study_give_the_same_trials(postgres, tmp_path, calm):
    """Two pools of workers started by hand, each in a folder of its own; the command is killed and repeated."""
    file = tmp_path / "scheduler.json"
    shared = ["--scheduler-file", str(file), "--no-dashboard"]
    worker = ["dask_worker", "--nthreads", "2"]
    dask = []
    for name, words in (
        ("scheduler", ["dask_scheduler", "--host", "127.0.0.1", "--port", "0"]),
        ("one", worker),
        ("two", worker),
    ):
        (tmp_path / name).mkdir()
        line = [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:], *shared]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        dask.append(subprocess.Popen(line, cwd=tmp_path / name, env=environment, stderr=subprocess.DEVNULL))
    try:
        with Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            far = Command(tmp_path / "far", postgres, client.scheduler.address)
            process = far.start(trials=5, workers=1, seconds=0.3)
            far.wait_for("epoch", 4)
            process.kill()
            process.communicate()
            assert whole(far.finish(5, client)) == calm[:5]
        assert [each.poll() for each in dask] == [None] * 3, "what was started by hand stays"
    finally:
        for each in reversed(dask):
            each.terminate()
            each.wait(30)
