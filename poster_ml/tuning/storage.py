"""Where a study lives, a SQLite file or another database, and the lock of the one command on it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from sqlalchemy import NullPool, create_engine, exc, inspect, text
from sqlalchemy.engine import make_url

from poster_ml.errors import OutputError, TuningError, check_password, mask_passwords
from poster_ml.files import begins_with, check_output_file

DATABASE_NAME = "optuna.db"
SQLITE_BEGINNING = "SQLite format 3\0"
OPTUNA_TABLES = frozenset({"studies", "version_info"})  # the first that Optuna makes
# Locks that a server takes back when its client dies, for commands on several machines.
SERVER_LOCKS = {"postgresql": "SELECT pg_try_advisory_lock(:key)", "mysql": "SELECT GET_LOCK(:key, 0)"}


def storage_url(storage: str) -> str:
    """Returns the database URL of a storage: a URL, or the path of a SQLite file."""
    check_password(storage)
    if "://" not in storage:
        return f"sqlite:///{Path(storage).absolute()}"
    if storage.startswith(("postgresql://", "postgres://")):
        return "postgresql+psycopg://" + storage.split("://", 1)[1]
    return storage


def check_storage(storage: str) -> None:
    """Refuses what cannot be used, and what is not ours, before anything is started. Writes nothing.

    Raises: OutputError for a file that is not an SQLite database, or a database of another program;
        TuningError where it cannot be reached.
    """
    url = storage_url(storage)
    file = _sqlite_file(url)
    if file is not None:
        if "://" not in storage and "?" in storage:
            raise OutputError(
                f"--storage {storage}: a database cannot lie at a path with a ?, give another one"
            )
        check_output_file(file, begins_with(SQLITE_BEGINNING), "SQLite database", "--storage")
    if file is None or file.exists():
        _check_tables(url)


def open_storage(storage: str) -> RDBStorage:
    """Opens a storage, and makes Optuna's tables where it is new. Raises: as `check_storage`."""
    check_storage(storage)
    url = storage_url(storage)
    with _faults_told(url):
        return RDBStorage(url, engine_kwargs={} if _sqlite_file(url) else {"pool_pre_ping": True})


@contextmanager
def study_lock(storage: str, study: str) -> Iterator[None]:
    """Makes this command the only one that works on a study, until the block or the process ends.

    Beside a SQLite file the lock is a file; a server keeps it with the connection. Both go with the process.

    Raises: TuningError where another command has it, or the storage cannot be used.
    """
    url = storage_url(storage)
    file = _sqlite_file(url)
    place = "" if file else make_url(url).database  # a lock file lies beside its database
    key = hashlib.sha256(f"{place} {study}".encode()).hexdigest()
    taken = TuningError(
        f"another command works on study {study!r} in {mask_passwords(storage)} now: wait for it to end, "
        "add workers to its --scheduler, or give another --study name"
    )
    question = SERVER_LOCKS.get(make_url(url).get_backend_name())
    if question:
        with _faults_told(url):
            connection = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect()
            mine = connection.execute(text(question), {"key": int(key[:15], 16)}).scalar()
        with connection:
            if not mine:
                raise taken
            yield
        return
    folder = file.parent if file else Path(tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        name = f".{file.name if file else 'poster-ml'}.{key[:12]}.lock"
        lock = FileLock(folder / name).acquire(timeout=0)
    except Timeout:
        raise taken from None
    except OSError as error:
        raise TuningError(f"cannot write to {folder}: {error.strerror}; give another --storage") from error
    with lock:
        yield


def _sqlite_file(url: str) -> Path | None:
    """Returns the file of a SQLite URL, None for other databases and for one in memory."""
    with _faults_told(url):
        parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def _check_tables(url: str) -> None:
    """Refuses a database that has tables, and none of Optuna's.

    MLflow's, for one, would be broken: both keep the version of their tables in one called alembic_version.
    """
    with _faults_told(url):
        tables = set(inspect(create_engine(url, poolclass=NullPool)).get_table_names())
    if tables and not tables & OPTUNA_TABLES:
        raise OutputError(
            f"--storage {mask_passwords(url)} is the database of another program (it has a table "
            f"{min(tables)!r}): give a database of its own, or leave --storage out"
        )


@contextmanager
def _faults_told(url: str) -> Iterator[None]:
    """Turns what a database raises into one line without passwords."""
    try:
        yield
    except ImportError as error:
        raise TuningError(
            f"--storage {mask_passwords(url)} needs a database driver ({error}); for PostgreSQL install "
            "poster-ml[postgres]"
        ) from error
    except (exc.SQLAlchemyError, RuntimeError) as error:
        (reason, *_) = str(error).strip().splitlines() or [type(error).__name__]
        raise TuningError(
            mask_passwords(f"cannot use --storage {url}: {reason}; check the URL and that the server runs")
        ) from error
