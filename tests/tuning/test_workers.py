from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna
import psutil
import pytest

from poster_ml.config import SearchSpace
from poster_ml.errors import TuningError
from poster_ml.tuning.records import INTERRUPTED, read_records
from poster_ml.tuning.study import StudySpec, open_study
from poster_ml.tuning.trial import TrialContext
from poster_ml.tuning.work import DONE, LATE, Job
from poster_ml.tuning.workers import run_workers
from tests.tuning.surrogates import SurrogateObjective


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_one_worker(
    process: subprocess.Popen[str], find_workers: Any, ledger_count: int, command: Any
) -> None:
    command.wait_for("begin", ledger_count)
    find_workers(process)[0].kill()


def kept(command: Any, space: SearchSpace) -> set[int]:
    """The trials that the study counts. The ledger is ahead of it: it knows what ended, not what was told."""
    records = read_records(open_study(StudySpec("study", command.storage)), space)
    return {record.number for record in records if record.counted}


def check_exactly(command: Any, space: SearchSpace, storage: str, trials: int) -> list[Any]:
    """As many counted trials as asked for, each begun, none doubled, every interrupted one repeated as it was."""
    opened = open_study(StudySpec("study", storage, heartbeat=1, grace=3))
    records = read_records(opened, space)
    assert sum(record.counted for record in records) == trials
    assert all(record.counted or record.state == INTERRUPTED for record in records)
    for record in records:
        if record.retry_of is not None:
            first = next(other for other in records if other.number == record.retry_of)
            assert first.state == INTERRUPTED
            assert record.seed == first.seed or first.seed is None
            assert all(record.drawn[name] == value for name, value in first.drawn.items())
    repeated = [record.retry_of for record in records if record.retry_of is not None]
    assert len(repeated) == len(set(repeated))
    fresh = [record.seed for record in records if record.retry_of is None and record.seed is not None]
    assert len(fresh) == len(set(fresh)), "two trials share a seed"
    ended = [line.split()[1] for line in command.lines("end") + command.lines("prune")]
    assert len(ended) == len(set(ended))
    return records


def test_killed_workers_and_a_killed_command_lose_and_double_nothing(
    command: Any, space: SearchSpace, find_workers: Any
) -> None:
    process = command.start(trials=10, workers=2)
    kill_one_worker(process, find_workers, 2, command)
    kill_one_worker(process, find_workers, 5, command)
    command.wait_for("begin", 7)
    kill_group(process)
    before = kept(command, space)
    assert len(before) >= 3, "seven have begun, of which two were killed and two can be under way"
    process = command.start(trials=10, workers=2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.strip() == DONE
    records = check_exactly(command, space, command.storage, 10)
    finished = {record.number for record in records if record.counted}
    assert before <= finished, "a finished trial was lost"
    assert any(record.retry_of is not None for record in records)


def test_a_second_command_with_more_trials_goes_on_and_one_with_fewer_does_nothing(
    spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    for trials, expected in ((3, 3), (3, 3), (2, 3), (5, 5)):
        opened = open_study(spec)
        job = Job(spec, space, SurrogateObjective(2, 0.0, ledger), trials, tmp_path / "work")
        assert run_workers(job, opened, 1) == DONE
        assert len(ledger.read_text().splitlines()) == 2 * expected
    drawn = [tuple(record.drawn.values()) for record in read_records(open_study(spec), space)]
    assert len(set(drawn)) == 5, "a continuation drew the same points again"


def test_ctrl_c_ends_quickly_and_keeps_what_finished(command: Any, space: SearchSpace) -> None:
    process = command.start(trials=50, workers=2, seconds=0.1)
    command.wait_for("begin", 4)  # two workers: what they ran first is told to the study by then
    before = kept(command, space)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err
    records = read_records(open_study(StudySpec("study", command.storage)), space)
    assert len(before) >= 2
    assert before <= {record.number for record in records if record.counted}
    assert not [record for record in records if record.state == "running"]


def test_workers_end_when_their_parent_is_killed(command: Any, find_workers: Any) -> None:
    process = command.start(trials=50, workers=1, seconds=0.1)
    command.wait_for("begin", 1)
    (worker,) = find_workers(process)
    process.kill()
    process.communicate()
    worker.wait(timeout=15)


def test_a_broken_objective_ends_with_its_error(spec: StudySpec, space: SearchSpace, tmp_path: Path) -> None:
    job = Job(spec, space, SurrogateObjective(broken=True), 20, tmp_path / "work")
    with pytest.raises(TuningError) as caught:
        run_workers(job, open_study(spec), 1)
    text = str(caught.value)
    assert text.startswith(
        "3 trials in a row failed (0, 1, 2), the last with: RuntimeError: the objective is broken"
    )
    assert text.endswith("fix it and repeat the command to continue")
    mended = Job(spec, space, SurrogateObjective(2), 2, tmp_path / "work", since=3)
    opened = open_study(spec)
    assert run_workers(mended, opened, 1) == DONE
    assert [record.state for record in read_records(opened, space)] == ["failed"] * 3 + ["finished"] * 2


def test_after_the_deadline_no_trial_begins(spec: StudySpec, space: SearchSpace, tmp_path: Path) -> None:
    job = Job(spec, space, SurrogateObjective(2), 5, tmp_path / "work", deadline=time.time() - 1)
    opened = open_study(spec)
    assert run_workers(job, opened, 1) == LATE
    assert opened.trials() == []


def test_two_commands_share_a_postgresql_study_and_survive_kills(
    postgres: str, make_command: Any, tmp_path: Path, space: SearchSpace
) -> None:
    """As on two machines: each command has its own folder; only the server is shared."""
    commands = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        commands.append(make_command(tmp_path / name, postgres))
    one, two = (each.start(trials=12, workers=1, seconds=0.1) for each in commands)
    for each in commands:
        each.wait_for("begin", 2)
    commands[1].wait_for("begin", len(commands[1].lines("begin")) + 1)  # in the middle of a trial
    kill_group(two)
    repeated = commands[1].start(trials=12, workers=1, seconds=0.1)
    for process in (one, repeated):
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        assert out.strip() == DONE
    opened = open_study(StudySpec("study", postgres, heartbeat=1, grace=3))
    records = read_records(opened, space)
    assert sum(record.counted for record in records) == 12
    assert len({record.seed for record in records if record.counted}) == 12
    interrupted = [record.number for record in records if record.state == INTERRUPTED]
    assert interrupted
    assert set(interrupted) == {record.retry_of for record in records} - {None}
    machines = [commands[index].lines("end") + commands[index].lines("prune") for index in (0, 1)]
    assert all(machines), "both took part"


def test_optuna_itself_reads_the_journal(spec: StudySpec, space: SearchSpace, tmp_path: Path) -> None:
    """What the dashboard does: Optuna's own backend with its own lock, on our file."""
    run_workers(Job(spec, space, SurrogateObjective(2), 2, tmp_path / "work"), open_study(spec), 1)
    backend = optuna.storages.journal.JournalFileBackend(spec.storage)
    study = optuna.load_study(study_name="study", storage=optuna.storages.JournalStorage(backend))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]


class LeakingObjective:
    """Every call keeps 30 MB for ever, as a model that Keras built would; notes the process and its size."""

    kept: ClassVar[list[np.ndarray]] = []

    def __call__(self, trial: TrialContext) -> float:
        self.kept.append(np.ones(30_000_000, np.uint8))  # without a copy, whose memory may stay or not
        process = psutil.Process()
        trial.note("process", process.pid)
        trial.note("megabytes", process.memory_info().rss / 1e6)
        return 0.5


def test_memory_does_not_grow_over_trials(spec: StudySpec, space: SearchSpace, tmp_path: Path) -> None:
    opened = open_study(spec)
    job = Job(spec, space, LeakingObjective(), 12, tmp_path / "work", recycle=4)
    assert run_workers(job, opened, 1) == DONE
    trials = sorted(opened.trials(), key=lambda trial: trial.number)
    sizes = np.array([trial.user_attrs["megabytes"] for trial in trials]).reshape(3, 4)  # one row per process
    processes = [trial.user_attrs["process"] for trial in trials]
    assert [len(set(processes[first : first + 4])) for first in (0, 4, 8)] == [1, 1, 1]
    assert len(set(processes)) == 3
    assert (np.diff(sizes, axis=1) > 20).all(), "the objective was to leak"
    assert np.abs(sizes[1:, -1] - sizes[0, -1]).max() < 20, "the third process is as small as the first"
