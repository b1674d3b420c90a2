"""The search on real worker processes: exact counts, deaths, continuation, and what a trial is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from poster_ml.cluster import Client, open_cluster
from poster_ml.config import SearchSpace
from poster_ml.errors import TuningError
from poster_ml.tuning.records import FAILED, FINISHED, INTERRUPTED, PRUNED, read_records
from poster_ml.tuning.search import Job, run_search
from poster_ml.tuning.storage import study_lock
from poster_ml.tuning.study import StudySpec, open_study
from poster_ml.tuning.trial import TrialContext, TrialLostError
from tests.tuning.command import workers_of
from tests.tuning.surrogates import SurrogateObjective

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with open_cluster(2) as client:
        yield client


def drawn(opened: Any) -> list[Any]:
    """Settings and seed of every trial, by number."""
    return [(trial.params, trial.user_attrs["seed"]) for trial in opened.trials()]


def check_whole(command: Any, trials: int, undisturbed: list[Any]) -> None:
    """Exactly the trials asked for, each the same as in a search that nobody disturbed."""
    opened = command.opened()
    assert [trial.state.name for trial in opened.trials()] == ["COMPLETE"] * trials
    assert drawn(opened) == undisturbed


def test_a_study_has_exactly_what_was_asked_for_and_is_extended_by_a_higher_number(
    client: Client, spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    ledger, points = (
        tmp_path / "ledger",
        ({"model.dropout": 0.5, "model.unfreeze": 3}, {"model.dropout": 0.1}),
    )
    for trials, expected in ((3, 3), (3, 3), (2, 3), (6, 6)):
        opened = open_study(spec)
        job = Job(space, SurrogateObjective(2, 0.0, ledger), trials, tmp_path / "work", points)
        run_search(job, opened, client)
        assert opened.counted() == expected
        assert len([line for line in ledger.read_text().splitlines() if line.startswith("begin")]) == expected
    records = read_records(opened, space)
    assert (records[0].drawn["model.dropout"], records[0].drawn["model.unfreeze"]) == (0.5, 3)
    assert records[1].drawn["model.dropout"] == 0.1, "own settings come first"
    assert len({record.seed for record in records}) == 6
    assert len({tuple(record.drawn.values()) for record in records}) == 6


def test_the_worse_are_pruned_at_once(
    client: Client, spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    """The answer belongs to the epoch that was reported: a pruned trial runs no further one."""
    ledger = tmp_path / "ledger"
    opened = open_study(replace(spec, prune_after=2))
    run_search(Job(space, SurrogateObjective(6, 0.0, ledger), 10, tmp_path / "work"), opened, client)
    pruned = [record for record in read_records(opened, space) if record.state == PRUNED]
    assert pruned
    for record in pruned:
        run = [line for line in ledger.read_text().splitlines() if line.startswith(f"epoch {record.number} ")]
        assert len(run) == record.epochs < 6


def test_killed_workers_and_a_killed_command_lose_and_double_nothing(command: Any, make_command: Any) -> None:
    calm = make_command(command.folder.parent / "calm")
    calm.run(trials=6, workers=2)
    process = command.start(trials=6, workers=2, seconds=0.3)
    command.wait_for("epoch", 3)
    workers_of(process.pid)[0].kill()
    command.wait_for("end", 2)
    workers = workers_of(process.pid)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(workers, timeout=15)[1] == [], "workers end with their command"
    before = {trial.number for trial in command.opened().trials() if trial.state.is_finished()}
    assert before
    command.run(trials=6, workers=2)
    check_whole(command, 6, drawn(calm.opened()))
    epochs = command.lines("epoch")
    assert len(epochs) <= 6 * 6 + 3, "of each killed trial only the epoch in hand is run twice"
    assert len(set(epochs)) == 6 * 6


def test_ctrl_c_ends_quickly_and_what_ran_continues(command: Any, space: SearchSpace) -> None:
    process = command.start(trials=4, workers=2, seconds=0.2)
    command.wait_for("end", 2)
    workers, began = workers_of(process.pid), time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode != 0
    assert err.count("Traceback") == 1, err  # the command's own; the command line makes 130 of it
    assert psutil.wait_procs(workers, timeout=15)[1] == []
    states = {record.state for record in read_records(command.opened(), space)}
    assert states <= {FINISHED, INTERRUPTED}
    command.run(trials=4, workers=2)
    assert command.opened().counted() == len(command.opened().trials()) == 4


def test_a_trial_that_kills_every_worker_is_given_up(
    spec: StudySpec, space: SearchSpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_study(spec)
    with open_cluster(1) as client:
        run_search(Job(space, Deadly(), 2, tmp_path / "work"), opened, client)
    records = read_records(opened, space)
    assert [record.state for record in records] == [FAILED, FINISHED, FINISHED]
    assert records[0].error.startswith(
        "its workers died, not enough memory? Use fewer --workers (KilledWorker: "
    )


class Deadly:
    """As if the first trial took all memory."""

    def __call__(self, trial: TrialContext) -> float:
        if trial.number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.6


def test_a_broken_objective_ends_with_its_error_and_a_fixed_one_continues(
    client: Client, spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    opened = open_study(spec)
    with pytest.raises(TuningError) as caught:
        run_search(Job(space, SurrogateObjective(broken=True), 20, tmp_path / "work"), opened, client)
    text = str(caught.value)
    assert text.startswith("3 trials in a row failed, the last one trial ")
    assert "RuntimeError: the objective is broken (at surrogates.py:" in text
    assert text.endswith("; fix it and repeat the command to continue")
    run_search(Job(space, SurrogateObjective(2), 2, tmp_path / "work"), opened, client)
    states = [record.state for record in read_records(opened, space)]
    assert states.count(FAILED) == 3
    assert states.count(FINISHED) == 2


@dataclass(frozen=True)
class Odd:
    """Returns what is no number, or has no answer from its command the first time."""

    lost: bool

    def __call__(self, trial: TrialContext) -> float:
        if not self.lost:
            return float("nan")
        if trial.number == 0 and not (trial.folder / "lost").exists():
            (trial.folder / "lost").touch()
            raise TrialLostError
        return 0.6


def test_no_number_fails_and_a_trial_without_an_answer_runs_again(
    client: Client, spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=r"3 trials in a row failed.* the objective returned nan"):
        run_search(Job(space, Odd(lost=False), 2, tmp_path), open_study(spec), client)
    opened = open_study(replace(spec, name="lost"))
    run_search(Job(space, Odd(lost=True), 2, tmp_path / "lost"), opened, client)
    assert [record.state for record in read_records(opened, space)] == [FINISHED] * 2


def test_after_the_deadline_no_trial_begins(
    client: Client, spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    opened = open_study(spec)
    run_search(Job(space, SurrogateObjective(2), 5, tmp_path, deadline=time.time() - 1), opened, client)
    assert opened.trials() == []


@dataclass(frozen=True)
class Noting:
    """Notes the process that it runs in."""

    file: Path

    def __call__(self, trial: TrialContext) -> float:
        with self.file.open("a") as handle:
            handle.write(f"{os.getpid()}\n")
        return 0.5


def test_a_worker_is_renewed_after_so_many_trials(
    spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    """Every model that Keras builds leaves memory behind."""
    with open_cluster(1) as client:
        job = Job(space, Noting(tmp_path / "pids"), 6, tmp_path / "work", renew_after=2)
        run_search(job, open_study(spec), client)
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 6
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_second_command_on_a_study_is_refused_until_the_first_is_gone(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
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
    end = time.monotonic() + 20  # a server takes a moment to see that its client is gone
    while True:
        try:
            with study_lock(storage, "study"):
                break
        except TuningError:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_workers_of_other_folders_and_a_postgresql_study_give_the_same_trials(
    postgres: str, command: Any, make_command: Any, tmp_path: Path
) -> None:
    """Two pools of workers started by hand, each in a folder of its own; the command is killed and repeated."""
    command.run(trials=5, workers=1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(*words: str, folder: Path) -> subprocess.Popen[bytes]:
        folder.mkdir()
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
            cwd=folder, env=environment, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    file = tmp_path / "scheduler.json"
    dask = [
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
              "--scheduler-file", str(file), folder=tmp_path / "scheduler")
    ]  # fmt: skip
    try:
        worker = ("dask_worker", "--scheduler-file", str(file), "--nthreads", "2", "--no-dashboard")
        dask += [start(*worker, folder=tmp_path / name) for name in ("one", "two")]
        with Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        far = make_command(tmp_path / "far", postgres, address)
        process = far.start(trials=5, workers=1, seconds=0.3)
        far.wait_for("epoch", 4)
        process.kill()
        process.communicate()
        far.run(trials=5, workers=1)
        opened = far.opened()
        assert [trial.state.name for trial in opened.trials()] == ["COMPLETE"] * 5
        assert drawn(opened) == drawn(command.opened())
        assert [trial.value for trial in opened.trials()] == [
            trial.value for trial in command.opened().trials()
        ]
        assert [each.poll() for each in dask] == [None] * 3, "what was started by hand stays"
    finally:
        for each in reversed(dask):
            each.terminate()
            each.wait(30)
