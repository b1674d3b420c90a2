"""The store is checked first, its files lie beside it, and the experiment is the one that was asked for."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from poster_ml.commands.register import run_register
from poster_ml.errors import PosterMLError, TrackingError
from poster_ml.tracking import store
from poster_ml.tracking.runs import fetched, open_run, search_runs
from poster_ml.tracking.store import connect, experiment_name, work_done
from tests.refusals import refusal


@pytest.fixture
def elsewhere(mlflow_place, monkeypatch):
    """Another working folder than the one with the store, as under `mlflow run URI`; it goes away."""
    folder = mlflow_place / "clone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def refused(**options: bool) -> str:
    return refusal(TrackingError, connect, **options)


def test_files_lie_beside_the_store_and_outlive_the_folder_of_the_code(elsewhere, mlflow_place, monkeypatch):
    with open_run("run", tags={}, system_metrics=False) as run:
        mlflow.log_text("words", "note.txt")
    monkeypatch.chdir(mlflow_place)
    shutil.rmtree(elsewhere)
    with fetched(run.run_id, "note.txt") as file:
        assert file.read_text() == "words"
    assert (mlflow_place / "mlruns" / "poster-ml" / run.run_id).is_dir()


def test_an_experiment_whose_folder_is_gone_is_named_with_the_way_out(elsewhere, mlflow_place, monkeypatch):
    mlflow.create_experiment("poster-ml", artifact_location=str(elsewhere / "mlruns" / "1"))
    monkeypatch.chdir(mlflow_place)
    shutil.rmtree(elsewhere)
    message = refused(write=True)
    assert f"keeps its files in {elsewhere}/mlruns/1, and {elsewhere} is gone" in message
    assert "MLFLOW_EXPERIMENT_NAME=NAME" in message
    assert search_runs() == []  # who only reads may
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "second")
    connect(write=True)


def test_a_run_of_mlflow_run_that_the_store_lacks_is_refused_before_another_is_made(
    mlflow_place, monkeypatch
):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123")
    with (
        pytest.raises(TrackingError, match="MLFLOW_RUN_ID=0123 is not a run of"),
        open_run("x", tags={}),
    ):
        pass
    assert search_runs() == []


@pytest.mark.parametrize("name", ["what?", "number#1", "a b", "100%"])
def test_a_folder_with_odd_characters_holds_store_and_files(mlflow_place, monkeypatch, store_template, name):
    folder = mlflow_place / name
    folder.mkdir()
    shutil.copy(store_template, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    with open_run("run", tags={}, system_metrics=False) as run:
        mlflow.log_text("words", "note.txt")
    with fetched(run.run_id, "note.txt") as file:
        assert file.read_text() == "words"
    assert (folder / "mlruns").is_dir()
    assert sorted(path.name for path in mlflow_place.iterdir()) == sorted([name, "mlflow.db"])


def test_an_escape_in_the_folder_is_refused_at_once_with_nothing_written(mlflow_place, monkeypatch):
    folder = mlflow_place / "a%20b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    mlflow.set_tracking_uri(None)
    assert "an escape such as %20, which mlflow.pyfunc.load_model unquotes" in refused()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("b?c/mlflow.db", "is read as the file {}/b: write %3F for a ?"),
        ("b%41c/mlflow.db", "is read as {}/bAc/mlflow.db, and there is no folder"),
    ],
)
def test_an_address_that_means_another_file_is_refused(mlflow_place, path, said):
    mlflow.set_tracking_uri(f"sqlite:///{mlflow_place}/{path}")
    assert said.format(mlflow_place) in refused()
    assert [path.name for path in mlflow_place.iterdir()] == ["mlflow.db"]


def test_a_server_that_never_answers_is_told_in_seconds_and_the_users_patience_is_kept(
    mlflow_place, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        mlflow.set_tracking_uri(f"http://me:geheim@127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        message = refused()
    assert time.monotonic() - started < 60  # MLflow's own patience is minutes here
    assert message.startswith("the store http://me:***@127.0.0.1:")
    assert "geheim" not in message
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("geheim", "the store postgresql://me:***@127.0.0.1:1/x "),
        (
            "ge@heim",
            "the password in postgresql://me:***@127.0.0.1:1/x has an @: write %40 for it, %2F for /",
        ),
    ],
)
def test_a_database_server_that_cannot_be_asked_is_named_without_its_password(mlflow_place, password, said):
    mlflow.set_tracking_uri(f"postgresql://me:{password}@127.0.0.1:1/x")
    message = refusal(PosterMLError, connect)
    assert message.startswith(said)
    assert "heim" not in message


def test_a_store_that_is_locked_or_may_only_be_read_takes_no_run_and_can_be_searched(
    mlflow_place, monkeypatch
):
    monkeypatch.setattr(store, "TIMEOUT", 0.1)
    connect()
    other = sqlite3.connect(mlflow_place / "mlflow.db")
    other.execute("BEGIN IMMEDIATE")
    assert "cannot be used (database is locked)" in refused(write=True)
    assert search_runs() == []
    other.close()
    able = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != mlflow_place and able(path, mode))
    assert f"({mlflow_place} may not be written)" in refused(write=True)
    assert search_runs() == []


def test_work_that_is_done_is_named_when_its_log_fails(mlflow_place):
    with (
        pytest.raises(TrackingError, match=r"kept up to this point.*train --resume"),
        open_run("run", tags={}, system_metrics=False),
    ):
        raise mlflow.MlflowException("API request to http://host/x failed with exception refused")
    gone = mlflow.MlflowException("API request to http://me:geheim@host/x failed")
    full = OSError(28, "No space left on device")
    for error in (TrackingError("no store"), gone, full):
        with pytest.raises(TrackingError) as caught, work_done("the dataset in out is complete"):
            raise error
        assert str(caught.value).startswith("the dataset in out is complete; only its log failed: ")
        assert "geheim" not in str(caught.value)
    with pytest.raises(ZeroDivisionError), work_done("nothing"):
        raise ZeroDivisionError


def test_the_named_experiment_is_used_everywhere(mlflow_place, monkeypatch):
    with open_run("of poster-ml", tags={}, system_metrics=False):
        pass
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine/and yours")
    with open_run("of mine", tags={}, system_metrics=False) as run:
        mlflow.log_text("words", "note.txt")
    assert experiment_name() == "mine/and yours"
    assert [found.name for found in search_runs()] == ["of mine"]
    assert (mlflow_place / "mlruns" / "mine_and_yours" / run.run_id).is_dir()
    with pytest.raises(Exception, match="in experiment 'mine/and yours'"):
        run_register("cnn")


def test_the_experiment_of_mlflow_run_takes_the_run_itself(mlflow_place, monkeypatch):
    number = mlflow.create_experiment("mine")
    outer = mlflow.MlflowClient().create_run(number).info.run_id
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    monkeypatch.setenv("MLFLOW_RUN_ID", outer)
    with open_run("run", tags={}, system_metrics=False) as run:
        pass
    assert run.run_id == outer
    assert [found.run_id for found in search_runs()] == [outer]


def test_an_unknown_or_contradicted_experiment_is_refused(mlflow_place, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")  # what `mlflow run` hands on where none was named
    connect()
    assert experiment_name() == "poster-ml"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    assert refused().startswith("MLFLOW_EXPERIMENT_ID=77 is not an experiment of this store")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mlflow.create_experiment("mine"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    assert "is the experiment 'mine', MLFLOW_EXPERIMENT_NAME says 'other'" in refused()


def test_a_deleted_experiment_stays_deleted(mlflow_place):
    number = connect()
    mlflow.delete_experiment(number)
    message = refused()
    assert message.startswith("the experiment 'poster-ml' is deleted: restore it with its runs by ")
    assert f"`mlflow experiments restore --experiment-id {number}`" in message
    assert mlflow.get_experiment(number).lifecycle_stage == "deleted"


def test_an_old_file_store_is_answered_with_the_command_that_shows_the_runs(
    mlflow_place, monkeypatch, caplog
):
    (mlflow_place / "mlruns" / "0").mkdir(parents=True)
    (mlflow_place / "mlruns" / "0" / "meta.yaml").write_text("name: Default")
    mlflow.set_tracking_uri(None)
    monkeypatch.setattr(store, "_reached", set())
    store.logger.addHandler(caplog.handler)
    try:
        connect()
    finally:
        store.logger.removeHandler(caplog.handler)
    assert "`mlflow ui --backend-store-uri sqlite:///mlflow.db`" in caplog.text


def test_two_commands_in_a_fresh_folder_make_one_store(tmp_path):
    program = "from poster_ml.tracking.store import connect; print('experiment', connect())"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", program]
    started = [subprocess.Popen(command, cwd=tmp_path, env=clean, text=True, **pipes) for _ in range(2)]
    results = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], results
    assert {out for out, _ in results} == {"experiment 1\n"}


def test_a_store_whose_writer_was_killed_is_used_again(mlflow_place):
    """A journal that was synced before the kill must be rolled back, which a read-only connection cannot."""
    connect()
    program = (
        "import os, sqlite3; base = sqlite3.connect('mlflow.db', isolation_level=None);"
        "base.execute('PRAGMA cache_size = 1'); base.execute('BEGIN IMMEDIATE');"
        "base.execute('CREATE TABLE spill (text)');"
        "[base.execute('INSERT INTO spill VALUES (?)', ('x' * 4000,)) for _ in range(200)];"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=mlflow_place, check=False)
    assert (mlflow_place / "mlflow.db-journal").stat().st_size > 0
    store._reached.clear()
    assert connect(write=True)
    with sqlite3.connect(mlflow_place / "mlflow.db") as base:
        assert "spill" not in {name for (name,) in base.execute("SELECT name FROM sqlite_master")}


def test_the_database_of_another_program_is_no_store_and_stays_as_it_is(mlflow_place):
    theirs = mlflow_place / "elsewhere" / "theirs.sqlite"
    theirs.parent.mkdir()
    with sqlite3.connect(theirs) as base:
        base.execute("CREATE TABLE films (title)")
    before = theirs.read_bytes()
    mlflow.set_tracking_uri(f"sqlite:///{theirs}")
    assert "theirs.sqlite is the database of another program (it has a table 'films')" in refused()
    assert theirs.read_bytes() == before
    assert list(theirs.parent.iterdir()) == [theirs]
