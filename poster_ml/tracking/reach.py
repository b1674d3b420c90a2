"""Whether a database can be reached, found out in seconds and before anything is written.

MLflow tries a database ten times, in a hundred seconds, and makes folders of whatever a URI spells.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

import sqlalchemy
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from poster_ml.errors import TrackingError, check_password, mask_passwords

TIMEOUT = 5  # seconds
_TAKES_TIMEOUT = ("postgresql", "mysql")


def sqlite_file(uri: str) -> Path | None:
    """Returns the absolute path of an SQLite store as MLflow's SQLAlchemy reads it; None for other stores.

    Raises: TrackingError for a `?` in the path, which would cut it there.
    """
    if not uri.startswith("sqlite:"):
        return None
    path, _, options = uri.partition("?")
    if "/" in options:
        raise TrackingError(
            f"{uri} is read as the file {path.removeprefix('sqlite:///')}: write %3F for a ? in a path, "
            "%25 for %"
        )
    try:
        database = sqlalchemy.make_url(uri).database
    except ArgumentError as error:
        raise TrackingError(f"{uri} is no URL of a database: give sqlite:////FOLDER/mlflow.db") from error
    if not database or database == ":memory:":
        return None
    return refuse_escapes(Path(database).absolute())


def refuse_escapes(file: Path) -> Path:
    """Returns the path of a store, refused with an escape in it: MLflow could not load a model from there.

    Raises: TrackingError.
    """
    if unquote(str(file)) != str(file):
        raise TrackingError(
            f"the path {file} has an escape such as %20, which mlflow.pyfunc.load_model unquotes: work in a "
            "folder without, or name a store elsewhere with MLFLOW_TRACKING_URI"
        )
    return file


def check_sqlite(uri: str, file: Path) -> None:
    """Refuses a file that is no database or that of another program, and a folder that none can be made in.

    Opened for writing where that is allowed: only then does SQLite roll back what a killed process left half
    written, without which it answers nothing at all.

    Raises: TrackingError.
    """
    if file.exists():
        mode = "rw" if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK) else "ro"
        _refuse_foreign(file, {name for (name,) in _ask(file, mode, "SELECT name FROM sqlite_master")})
        return
    spelled = Path(uri.removeprefix("sqlite:///")).absolute()
    if spelled != file and not file.parent.exists():
        raise TrackingError(
            f"{uri} is read as {file}, and there is no folder {file.parent}: write %25 for a % in a path, "
            "%3F for ?, %23 for #"
        )
    _check_folder(file, next(folder for folder in file.parents if folder.exists()))


def check_sqlite_writable(file: Path) -> None:
    """Refuses a store that takes no runs: a file or folder that may be read only, or is locked by others.

    Raises: TrackingError within `TIMEOUT` seconds.
    """
    _check_folder(file, file.parent)
    _ask(file, "rw", "BEGIN IMMEDIATE")


def check_database(uri: str) -> None:
    """Refuses a server that does not answer, or that no driver is installed for.

    Raises: TrackingError without the password.
    """
    try:
        kind = sqlalchemy.make_url(check_password(uri)).get_backend_name()
        options = {"connect_timeout": TIMEOUT} if kind in _TAKES_TIMEOUT else {}
        engine = sqlalchemy.create_engine(uri, connect_args=options, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names())
    except ImportError as error:
        raise TrackingError(
            f"the store {mask_passwords(uri)} needs a database driver that is not installed ({error}): "
            "install it with pip"
        ) from error
    except SQLAlchemyError as error:
        detail = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        raise TrackingError(unusable(uri, detail)) from error
    _refuse_foreign(uri, tables)


def unusable(store: str | Path, detail: object) -> str:
    """Returns in one line, without passwords, that a store fails, how, and what to do."""
    return mask_passwords(
        f"the store {store} cannot be used ({detail}): fix it, or name another store with MLFLOW_TRACKING_URI"
    )


def _refuse_foreign(store: str | Path, tables: set[str]) -> None:
    """Refuses a database of another program, which MLflow would fill with tables of its own."""
    others = {name for name in tables if not name.startswith("sqlite_")} - {"alembic_version"}
    if others and "experiments" not in others:
        raise TrackingError(
            f"{mask_passwords(str(store))} is the database of another program (it has a table "
            f"{min(others)!r}): name a store of MLflow, or a file that does not exist yet, with "
            "MLFLOW_TRACKING_URI"
        )


def _check_folder(file: Path, folder: Path) -> None:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise TrackingError(unusable(file, f"{folder} may not be written"))


def _ask(file: Path, mode: str, statement: str) -> list[tuple[str, ...]]:
    """Runs one statement, which changes nothing, on an existing file; returns its rows."""
    address = f"file:{quote(str(file))}?mode={mode}"
    try:
        with closing(sqlite3.connect(address, timeout=TIMEOUT, uri=True)) as base:
            rows = base.execute(statement).fetchall()
            base.rollback()
            return rows
    except sqlite3.Error as error:
        raise TrackingError(unusable(file, error)) from error
