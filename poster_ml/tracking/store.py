"""Where runs are kept: MLflow's default embedded store, or what MLFLOW_TRACKING_URI says."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock, Timeout
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from poster_ml.errors import TrackingError
from poster_ml.quiet import quiet_libraries
from poster_ml.tracking.reach import (
    check_database,
    check_sqlite,
    check_sqlite_writable,
    refuse_escapes,
    sqlite_file,
    unusable,
)

EXPERIMENT = "poster-ml"
NO_EXPERIMENT = "0"  # the id that `mlflow run` hands on where no experiment was named
# What a server is given to answer for the first time; later calls have MLflow's own patience.
FIRST_CALL = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
LOCK_TIMEOUT = 120  # seconds: another command creates the tables

logger = logging.getLogger(__name__)
_reached: set[str] = set()


def connect(*, write: bool = False) -> str:
    """Prepares MLflow for this process and returns the id of the experiment, which is made where missing.

    Without MLFLOW_TRACKING_URI the store is `mlflow.db` with artifacts under `mlruns/`, both in the current
    folder: what a plain `mlflow ui` shows there. The experiment is that of MLFLOW_EXPERIMENT_ID (which
    `mlflow run --experiment-name` sets) or MLFLOW_EXPERIMENT_NAME, else `poster-ml`.

    Args:
        write: runs are to be written: also refuses a store, or a folder of artifacts, that cannot take them.

    Raises: TrackingError, within ten seconds where the store cannot be reached.
    """
    quiet_libraries()  # creating the database logs one line per migration
    uri = tracking_uri()
    if uri != mlflow.get_tracking_uri() or not os.environ.get("MLFLOW_TRACKING_URI"):
        if not _reached and file_store(Path.cwd()):
            logger.warning(
                "mlruns/ has runs of an older MLflow, with which a plain `mlflow ui` does not start; these "
                "runs go to mlflow.db: look at them with `mlflow ui --backend-store-uri sqlite:///mlflow.db`"
            )
        mlflow.set_tracking_uri(uri)
    file = sqlite_file(uri)
    place = str(file or uri)
    first = place not in _reached
    if first:
        _check_reachable(uri, file)
    with _creation(file) if first else nullcontext():
        experiment = _find_experiment(uri)
    _reached.add(place)
    if write and file is not None:
        check_sqlite_writable(file)
        check_artifacts(experiment)
    return str(experiment.experiment_id)


def experiment_name() -> str:
    """Returns the name of the experiment that `connect` gives the id of."""
    return str(mlflow.MlflowClient().get_experiment(connect()).name)


def tracking_uri() -> str:
    """Returns the store in use: one that was set, MLFLOW_TRACKING_URI, or `mlflow.db` in this folder."""
    named = bool(os.environ.get("MLFLOW_TRACKING_URI")) or mlflow.is_tracking_uri_set()
    uri = str(mlflow.get_tracking_uri()) if named else ""
    file = sqlite_file(uri) if named else refuse_escapes(Path.cwd() / "mlflow.db")
    if file is None or (named and "%" not in uri) or not file.parent.is_dir():
        return uri
    # MLflow makes the folder of a URI as it is spelled, %23 and all: no quotes, where they can be left out.
    if "?" not in str(file):
        return f"sqlite:///{file}"
    return f"sqlite:///{file.name}" if file.parent == Path.cwd() else uri


def is_outage(error: BaseException) -> bool:
    """Whether an error says that the store failed (gone, full, locked), not that it was asked wrongly."""
    if isinstance(error, mlflow.MlflowException):
        return str(error).startswith("API request to") or isinstance(error.__cause__, OperationalError)
    return isinstance(error, OperationalError)


def describe_outage(error: BaseException) -> str:
    """Returns in one line which store failed and how, without passwords."""
    cause = error.__cause__ if isinstance(error.__cause__, OperationalError) else error
    detail = " ".join(str(getattr(cause, "orig", None) or cause).split())
    detail = detail.rpartition("Caused by ")[2][:300].strip("()")  # what requests wraps three times
    return unusable(mlflow.get_tracking_uri(), detail)


@contextmanager
def work_done(what: str) -> Iterator[None]:
    """Wraps what is left when the work is done, its log: an error says first what is finished.

    Args:
        what: what is finished, where it lies, and how it is logged later; one line.

    Raises: TrackingError in place of whatever the store, or the folder of its artifacts, raises.
    """
    try:
        yield
    except (TrackingError, OSError) as error:
        raise TrackingError(f"{what}; only its log failed: {error}") from error
    except Exception as error:
        if not is_outage(error):
            raise
        raise TrackingError(f"{what}; only its log failed: {describe_outage(error)}") from error


def needs_store(model_uri: str) -> bool:
    """Whether a model is found through the store; a folder, here or on another file system, is not."""
    return re.match(r"(models|runs|mlflow-artifacts):", model_uri) is not None


def store_folder() -> Path:
    """Returns the folder beside the MLflow store, where tuning keeps its own."""
    file = sqlite_file(mlflow.get_tracking_uri())
    return file.resolve().parent if file is not None else Path.cwd()


def shared_uri() -> str:
    """Returns the store as processes that live in other folders can name it."""
    uri = tracking_uri()
    file = sqlite_file(uri)
    return uri if file is None or "%" in uri or "?" in str(file) else f"sqlite:///{file}"


def use_store(uri: str, experiment: str) -> None:
    """Takes over store and experiment (its name) of the command that this process works for."""
    mlflow.set_tracking_uri(uri)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    os.environ["MLFLOW_EXPERIMENT_NAME"] = experiment


def file_store(folder: Path) -> bool:
    """Whether a folder has an `mlruns` in which an older MLflow kept its runs as files."""
    return any((folder / "mlruns").glob("[0-9]*/meta.yaml"))


def check_artifacts(experiment: Any) -> None:
    """Refuses an experiment whose files would go to a folder that is gone, or that MLflow misreads.

    Raises: TrackingError saying how to start another experiment, or to bring the folder back.
    """
    location = str(experiment.artifact_location)
    if not location.startswith(("/", "file:")):
        return
    folder = local_file_uri_to_path(location)
    remedy = "or begin another experiment with MLFLOW_EXPERIMENT_NAME=NAME (this one's runs stay listed)"
    if not location.startswith("file:") and folder != location:
        raise TrackingError(
            f"the experiment {experiment.name!r} keeps its files in {location}, which MLflow reads as "
            f"{folder}: use a folder without %, ? and # in its path, {remedy}"
        )
    # MLflow makes FOLDER/mlruns/EXPERIMENT with the first file; FOLDER itself was there.
    base = Path(folder).parent.parent
    if not Path(folder).exists() and not base.is_dir():
        raise TrackingError(
            f"the experiment {experiment.name!r} keeps its files in {folder}, and {base} is gone: bring that "
            f"folder back, {remedy}"
        )


def _check_reachable(uri: str, file: Path | None) -> None:
    """Refuses a store that is not there or broken, before MLflow tries it ten times."""
    if file is not None:
        if "MLFLOW_RUN_ID" in os.environ and not uri.startswith("sqlite:////") and not file.exists():
            raise TrackingError(
                f"MLFLOW_TRACKING_URI={uri} names a file of the folder that `mlflow run` was called in, and "
                f"this is another, {Path.cwd()}: give the whole path, sqlite:////FOLDER/{file.name}"
            )
        check_sqlite(uri, file)
    elif not uri.startswith(("http", "file:", "databricks")) and "://" in uri:
        check_database(uri)


@contextmanager
def _creation(file: Path | None) -> Iterator[None]:
    """The first call to a store: one command at a time makes the tables, and no server is waited for long."""
    added = {name: value for name, value in FIRST_CALL.items() if name not in os.environ}
    os.environ.update(added)
    try:
        if file is None or not os.access(file.parent, os.W_OK):
            yield
            return
        with FileLock(f"{file}.lock", timeout=LOCK_TIMEOUT):
            yield
    except Timeout as error:
        raise TrackingError(
            f"another command has been making the store {file} for {LOCK_TIMEOUT} s: wait for it or end it"
        ) from error
    finally:
        for name in added:
            os.environ.pop(name, None)


def _find_experiment(uri: str) -> Any:
    """Returns the experiment that is asked for, made where it is missing.

    Raises: TrackingError where the store fails, or the experiment is deleted or unknown.
    """
    number = os.environ.get("MLFLOW_EXPERIMENT_ID") or NO_EXPERIMENT
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "")
    try:
        client = mlflow.MlflowClient()
        if number != NO_EXPERIMENT:
            found = _experiment_of_id(client, number, name)
        else:
            found = client.get_experiment_by_name(name or EXPERIMENT) or _create(
                client, uri, name or EXPERIMENT
            )
    except (SQLAlchemyError, mlflow.MlflowException, OSError) as error:
        raise TrackingError(describe_outage(error)) from error
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {found.name!r} is deleted: restore it with its runs by `mlflow experiments "
            f"restore --experiment-id {found.experiment_id}` (and rename it by `mlflow experiments rename`, "
            "if its name shall be free), or name another with MLFLOW_EXPERIMENT_NAME"
        )
    return found


def _experiment_of_id(client: mlflow.MlflowClient, number: str, name: str) -> Any:
    try:
        found = client.get_experiment(number)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(
            f"MLFLOW_EXPERIMENT_ID={number} is no experiment of this store: unset it, or give an id that "
            "`mlflow experiments search` lists"
        ) from error
    if name and found.name != name:
        raise TrackingError(
            f"MLFLOW_EXPERIMENT_ID={number} is the experiment {found.name!r}, MLFLOW_EXPERIMENT_NAME says "
            f"{name!r}: unset one of them"
        )
    return found


def _create(client: mlflow.MlflowClient, uri: str, name: str) -> Any:
    """Makes the experiment, its files beside the sqlite file: `mlflow run` may work in a folder that goes."""
    file = sqlite_file(uri)
    folder = re.sub(r"[^\w.\-]", "_", name)
    location = None if file is None else (file.resolve().parent / "mlruns" / folder).as_uri()
    try:
        client.create_experiment(name, artifact_location=location)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was first
            raise
    return client.get_experiment_by_name(name)
