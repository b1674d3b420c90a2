from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from poster_ml.errors import OutputError, PosterMLError, TuningError
from poster_ml.tuning.storage import Presence, check_storage, open_storage
from poster_ml.tuning.study import StudySpec, make_pruner, open_study


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(TuningError) as caught:
        StudySpec("s", "x.log", sampler="tpee")
    assert str(caught.value) == "unknown sampler 'tpee' (did you mean 'tpe'?): choose one of tpe, random, qmc"
    with pytest.raises(TuningError) as caught:
        StudySpec("s", "x.log", pruner="medium")
    assert str(caught.value) == (
        "unknown pruner 'medium' (did you mean 'median'?): choose one of median, third, hyperband, halving, none"
    )


def test_a_study_is_continued_with_the_same_things_only(spec: StudySpec) -> None:
    open_study(spec, {"space": "a", "dataset": "1"})
    open_study(spec, {"space": "a", "dataset": "1"})
    with pytest.raises(TuningError) as caught:
        open_study(spec, {"space": "b", "dataset": "1"})
    assert str(caught.value) == (
        f"study 'study' in {spec.storage} cannot be continued: space was a, now b; give another --study name"
    )


def test_sqlite_serves_one_worker_only() -> None:
    check_storage("sqlite:///x.db", 1)
    with pytest.raises(TuningError) as caught:
        check_storage("sqlite:///x.db", 2)
    assert str(caught.value) == (
        "--storage sqlite:///x.db with 2 workers: SQLite serves one worker only; leave --storage out (a journal "
        "file) or give a PostgreSQL or MySQL URL"
    )


def test_a_folder_and_a_foreign_file_are_no_journal(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder: give a file"):
        open_storage(str(tmp_path))
    other = tmp_path / "other.txt"
    other.write_text("a poem\nof two lines\n")
    with pytest.raises(OutputError, match="exists and holds no Optuna journal: give another file"):
        open_storage(str(other))
    assert other.read_text() == "a poem\nof two lines\n"


def test_an_unreachable_database_is_told_in_one_line_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(TuningError) as caught:
        open_storage("postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(
        PosterMLError, match=r"the password in postgresql://me:\*\*\*@127.0.0.1:1/none has an @"
    ):
        open_storage("postgresql://me:sec@ret@127.0.0.1:1/none")
    text = str(caught.value)
    assert text.startswith("cannot use --storage postgresql+psycopg://me:***@127.0.0.1:1/none: ")
    assert text.endswith("; check the URL and that the server runs")
    assert "secret" not in text
    assert "\n" not in text


def test_a_half_written_last_line_is_dropped(spec: StudySpec) -> None:
    opened = open_study(spec)
    opened.study.add_trial(optuna.trial.create_trial(value=0.5))
    whole = Path(spec.storage).read_bytes()
    with Path(spec.storage).open("ab") as handle:
        handle.write(b'{"op_code":4,"wor')
    again = open_study(spec)
    assert [trial.value for trial in again.trials()] == [0.5]
    again.study.add_trial(optuna.trial.create_trial(value=0.6))
    assert [trial.value for trial in open_study(spec).trials()] == [0.5, 0.6]
    assert Path(spec.storage).read_bytes().startswith(whole)
    assert all(json.loads(line) for line in Path(spec.storage).read_text().splitlines())


def test_a_lock_goes_with_its_holder(tmp_path: Path, command: Any, find_workers: Any) -> None:
    """Optuna's own lock file would make everybody wait for half a minute."""
    process = command.start(trials=50, workers=2, seconds=0.01)
    command.wait_for("begin", 3)
    for worker in find_workers(process):
        worker.kill()
    process.kill()
    process.communicate()
    begin = time.monotonic()
    opened = open_study(StudySpec("study", command.storage))
    opened.study.set_user_attr("still", "writable")
    assert time.monotonic() - begin < 5


def test_presence_knows_the_living_the_gone_and_the_dead(tmp_path: Path) -> None:
    mine, theirs = Presence(tmp_path), Presence(tmp_path)
    mine.enter("me")
    assert mine.alive("me")
    assert theirs.alive("me")
    assert not theirs.alive("nobody")
    (tmp_path / "dead").touch()
    assert not theirs.alive("dead")
    assert not (tmp_path / "dead").exists()
    mine.leave()
    assert not theirs.alive("me")


@pytest.mark.parametrize("name", ["median", "third", "hyperband", "halving"])
def test_pruners_stop_the_worse_and_spare_the_better(name: str) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner(name, 9, 3))
    for value in (0.60, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68):
        trial = study.ask()
        for epoch in range(1, 10):
            trial.report(value + epoch / 1000, epoch)
            trial.should_prune()  # halving notes its rungs when asked
        study.tell(trial, value)

    def stopped_at(value: float) -> int:
        trial = study.ask()
        for epoch in range(1, 10):
            trial.report(value + epoch / 1000, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return epoch
        study.tell(trial, value)
        return 10

    assert min(stopped_at(0.51) for _ in range(3)) < 5
    assert stopped_at(0.75) == 10


@pytest.mark.parametrize("end", ["garbage\n", '{"op_co\n', "[1, 2]\n"])
def test_a_journal_whose_last_whole_line_is_none_is_refused_untouched(spec: StudySpec, end: str) -> None:
    """Optuna would append to it, and then nobody could read it."""
    open_study(spec).study.add_trial(optuna.trial.create_trial(value=0.5))
    with Path(spec.storage).open("a") as handle:
        handle.write(end)
    before = Path(spec.storage).read_bytes()
    with pytest.raises(TuningError, match="is not an Optuna journal to its end: give another --storage"):
        open_study(spec)
    assert Path(spec.storage).read_bytes() == before


def test_a_last_line_longer_than_a_megabyte_is_read_whole(spec: StudySpec) -> None:
    opened = open_study(spec)
    opened.study.set_user_attr("long", "x" * 2_000_000)
    whole = Path(spec.storage).read_bytes()
    with Path(spec.storage).open("ab") as handle:
        handle.write(b'{"op_code":4,"' + b"y" * 2_000_000)
    assert open_study(spec).study.user_attrs["long"] == "x" * 2_000_000
    assert Path(spec.storage).read_bytes().startswith(whole)
