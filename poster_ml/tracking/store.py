"""Where runs are kept: MLflow's default embedded store, or what MLFLOW_TRACKING_URI says."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mlflow
import sqlalchemy
from filelock import FileLock, Timeout
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from poster_ml.errors import TrackingError, check_password, mask_passwords
from poster_ml.quiet import quiet_libraries

EXPERIMENT = "poster-ml"
NO_EXPERIMENT = "0"  # the id that `mlflow run` hands on where no experiment was named
# What a server is given to answer for the first time; later calls have MLflow's own patience.
FIRST_CALL = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
LOCK_TIMEOUT = 120  # seconds: another command creates the tables
TIMEOUT = 5  # seconds that a database is given to answer
_TIMEOUT_NAMES = {"sqlite": "timeout", "postgresql": "connect_timeout", "mysql": "connect_timeout"}

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
        check_database(uri, file)
    with _creation(file) if first else nullcontext():
        experiment = _find_experiment(uri)
    _reached.add(place)
    if write and file is not None:
        check_database(uri, file, write=True)
        check_artifacts(experiment)
    return str(experiment.experiment_id)


def experiment_name() -> str:
    """Returns the name of the experiment that `connect` gives the id of."""
    return str(mlflow.MlflowClient().get_experiment(connect()).name)


def tracking_uri() -> str:
    """Returns the store in use: one that was set, MLFLOW_TRACKING_URI, or `mlflow.db` in this folder."""
    named = bool(os.environ.get("MLFLOW_TRACKING_URI")) or mlflow.is_tracking_uri_set()
    uri = str(mlflow.get_tracking_uri()) if named else ""
    file = sqlite_file(uri) if named else _without_escapes(Path.cwd() / "mlflow.db")
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
    return _unusable(mlflow.get_tracking_uri(), detail)


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


def sqlite_file(uri: str) -> Path | None:
    """Returns the absolute path of an SQLite store as MLflow's SQLAlchemy reads it; None for other stores.

    Raises: TrackingError for a `?` in the path, which would cut it there, and for an escape such as %20.
    """
    if not uri.startswith("sqlite:"):
        return None
    path, _, options = uri.partition("?")
    if "/" in options:
        file = path.removeprefix("sqlite:///")
        raise TrackingError(f"{uri} is read as the file {file}: write %3F for a ? in a path, %25 for %")
    try:
        database = sqlalchemy.make_url(uri).database
    except ArgumentError as error:
        raise TrackingError(f"{uri} is not a database URL: give sqlite:////FOLDER/mlflow.db") from error
    return _without_escapes(Path(database).absolute()) if database and database != ":memory:" else None


def check_database(uri: str, file: Path | None, *, write: bool = False) -> None:
    """Refuses a database that fails or is that of another program, before MLflow tries it ten times.

    SQLite opens a file for writing where it may: only then does it roll back what a killed process left.

    Args:
        uri: of the store; one that is not a database is not asked.
        file: of `sqlite_file`.
        write: also refuses an SQLite store that takes no runs: read only, or locked by others.

    Raises: TrackingError without the password, within `TIMEOUT` seconds.
    """
    if file is not None and (write or not file.exists()):
        folder = next(parent for parent in file.parents if parent.exists())
        if folder != file.parent and Path(uri.removeprefix("sqlite:///")).absolute() != file:
            raise TrackingError(
                f"{uri} is read as {file}, and there is no folder {file.parent}: write %25 for a % in a "
                "path, %3F for ?, %23 for #"
            )
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise TrackingError(_unusable(file, f"{folder} may not be written"))
    no_database = uri.startswith(("http", "file:", "databricks")) or "://" not in uri
    if no_database or (file is not None and not file.exists()):
        return
    try:
        option = _TIMEOUT_NAMES.get(sqlalchemy.make_url(check_password(uri)).get_backend_name())
        options = {option: TIMEOUT} if option else {}
        engine = sqlalchemy.create_engine(uri, connect_args=options, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            if write:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            tables = set(sqlalchemy.inspect(connection).get_table_names())
    except ImportError as error:
        raise TrackingError(_unusable(uri, f"{error}: install the driver with pip")) from error
    except SQLAlchemyError as error:
        detail = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        raise TrackingError(_unusable(file or uri, detail)) from error
    others = tables - {"alembic_version"}
    if others and "experiments" not in others:
        raise TrackingError(
            f"{mask_passwords(uri)} is the database of another program (it has a table {min(others)!r}): "
            "name a store of MLflow, or a file that does not exist yet, with MLFLOW_TRACKING_URI"
        )


def check_artifacts(experiment: Any) -> None:
    """Refuses an experiment whose files would go to a folder that is gone.

    Raises: TrackingError saying how to start another experiment, or to bring the folder back.
    """
    location = str(experiment.artifact_location)
    if not location.startswith(("/", "file:")):
        return
    folder = Path(local_file_uri_to_path(location))
    # MLflow makes FOLDER/mlruns/EXPERIMENT with the first file; FOLDER itself was there.
    base = folder.parent.parent
    if not folder.exists() and not base.is_dir():
        raise TrackingError(
            f"the experiment {experiment.name!r} keeps its files in {folder}, and {base} is gone: bring that "
            "folder back, or begin another experiment with MLFLOW_EXPERIMENT_NAME=NAME (this one's runs stay "
            "listed)"
        )


def _without_escapes(file: Path) -> Path:
    """Returns the path of a store. Raises: TrackingError where MLflow could not load a model from there."""
    if unquote(str(file)) != str(file):
        raise TrackingError(
            f"the path {file} has an escape such as %20, which mlflow.pyfunc.load_model unquotes: work in a "
            "folder without, or name a store elsewhere with MLFLOW_TRACKING_URI"
        )
    return file


def _unusable(store: str | Path, detail: object) -> str:
    """Returns in one line, without passwords, that a store fails, how, and what to do."""
    return mask_passwords(
        f"the store {store} cannot be used ({detail}): fix it, or name another store with MLFLOW_TRACKING_URI"
    )


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

    Raises: TrackingError where the store fails, or the experiment is deleted, unknown or contradicted.
    """
    number = os.environ.get("MLFLOW_EXPERIMENT_ID") or NO_EXPERIMENT
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    client = mlflow.MlflowClient()
    try:
        if number != NO_EXPERIMENT:
            found = client.get_experiment(number)
        else:
            found = client.get_experiment_by_name(name) or _create(client, uri, name)
    except (SQLAlchemyError, mlflow.MlflowException, OSError) as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise TrackingError(
                f"MLFLOW_EXPERIMENT_ID={number} is not an experiment of this store: unset it, or give "
                "an id that `mlflow experiments search` lists"
            ) from error
        raise TrackingError(describe_outage(error)) from error
    asked = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if asked and found.name != asked:
        raise TrackingError(
            f"MLFLOW_EXPERIMENT_ID={number} is the experiment {found.name!r}, MLFLOW_EXPERIMENT_NAME says "
            f"{asked!r}: unset one of them"
        )
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {found.name!r} is deleted: restore it with its runs by `mlflow experiments "
            f"restore --experiment-id {found.experiment_id}` (and rename it by `mlflow experiments rename`, "
            "if its name shall be free), or name another with MLFLOW_EXPERIMENT_NAME"
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
