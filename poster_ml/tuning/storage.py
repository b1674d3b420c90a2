"""Where a study lives: a journal file guarded by kernel locks, or a database with heartbeats.

The kernel gives a lock back when its holder dies, however it dies. Optuna's own journal lock is a symbolic
link that a killed holder leaves behind, after which everybody waits for half a minute; and a journal has no
heartbeats. Locks held for as long as a worker lives fix both, on one machine or on a file system that
passes locks on (NFS 4 does).
"""

from __future__ import annotations

import fcntl
import json
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage

from poster_ml.errors import OutputError, TuningError, check_password, mask_passwords
from poster_ml.files import begins_with, check_output_file

JOURNAL_NAME = "optuna-journal.log"
CONNECT_ATTEMPTS = 5
JOURNAL_BEGINNING = '{"op_code":'
SQLITE_BEGINNING = "SQLite format 3\0"
OPTUNA_TABLES = frozenset({"studies", "version_info"})  # the first that Optuna makes


def is_database(storage: str) -> bool:
    """Whether a storage is a URL; everything else is the path of a journal file."""
    return "://" in storage


def check_storage(storage: str, workers: int) -> None:
    """Refuses what cannot work, and what is not ours, before anything is started. Writes nothing.

    Raises: TuningError for several workers on SQLite; OutputError for a file that holds no journal, or a
        SQLite database of another program.
    """
    if storage.startswith("sqlite") and workers > 1:
        raise TuningError(
            f"--storage {mask_passwords(storage)} with {workers} workers: SQLite serves one worker only; "
            "leave --storage out (a journal file) or give a PostgreSQL or MySQL URL"
        )
    if is_database(storage):
        from sqlalchemy import exc

        file = _sqlite_file(storage)
        if file is not None and file.exists():
            check_output_file(file, begins_with(SQLITE_BEGINNING), "SQLite database", "--storage")
            try:
                _check_tables(storage)
            except exc.SQLAlchemyError as error:
                raise TuningError(_unreachable(storage, error)) from error
        return
    remedy = f" (for an SQLite database, give sqlite:///{storage})" if _is_sqlite(Path(storage)) else ""
    check_output_file(Path(storage), begins_with(JOURNAL_BEGINNING), f"Optuna journal{remedy}", "--storage")


class Presence:
    """Tells which workers live: each holds a lock on a file of its own for as long as it does."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the workers' files."""
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mine: IO[bytes] | None = None
        self._my_path = folder / "none"

    def enter(self, owner: str) -> None:
        """Announces a worker. Locked before it is visible, so nobody can take it for dead."""
        temporary = self._folder / f".{uuid.uuid4().hex}"
        self._mine = temporary.open("wb")
        fcntl.flock(self._mine, fcntl.LOCK_EX)
        self._my_path = self._folder / owner
        temporary.rename(self._my_path)

    def leave(self) -> None:
        """Takes the announcement back."""
        if self._mine is not None:
            self._my_path.unlink(missing_ok=True)
            self._mine.close()
            self._mine = None

    def alive(self, owner: str) -> bool:
        """Whether that worker holds its lock; one whose file is gone has left."""
        if self._mine is not None and owner == self._my_path.name:
            return True
        try:
            handle = (self._folder / owner).open("rb+")  # never creates
        except FileNotFoundError:
            return False
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        (self._folder / owner).unlink(missing_ok=True)
        return False


@dataclass
class OpenStorage:
    """A storage that is open, and how its workers are watched: by locks or by heartbeats."""

    optuna: BaseStorage
    presence: Presence | None
    claim_lock: Path | None
    heartbeat: int

    def claiming(self) -> AbstractContextManager[object]:
        """Lets one worker at a time decide on a new trial, where a lock can be had."""
        return nullcontext() if self.claim_lock is None else FileLock(self.claim_lock)

    @contextmanager
    def present(self, owner: str) -> Iterator[None]:
        """Announces a worker for the length of a block, where workers are watched by locks."""
        if self.presence is None:
            yield
            return
        self.presence.enter(owner)
        try:
            yield
        finally:
            self.presence.leave()


def open_storage(storage: str, heartbeat: int = 10, grace: int = 60) -> OpenStorage:
    """Opens a study's storage.

    Args:
        storage: path of a journal file, or a database URL that SQLAlchemy knows.
        heartbeat: seconds between signs of life of a trial in a database.
        grace: seconds without one after which its worker counts as dead.

    Raises: TuningError where it cannot be opened; OutputError where it holds something else.
    """
    check_storage(storage, 1)
    if is_database(storage):
        return OpenStorage(_open_database(storage, heartbeat, grace), None, None, heartbeat)
    path = Path(storage).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuningError(f"cannot make the folder of {path}: {error.strerror}") from error
    _mend_journal(path)
    lock: Any = FileLock(_beside(path, "write.lock"))  # acquires and releases, which is all Optuna asks for
    backend = JournalFileBackend(str(path), lock_obj=lock)
    try:
        journal = JournalStorage(backend)
    except (ValueError, KeyError) as error:
        raise TuningError(f"{path} is not an Optuna journal: {error}; give another --storage") from error
    return OpenStorage(journal, Presence(_beside(path, "workers")), _beside(path, "claim.lock"), heartbeat)


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}")


def _mend_journal(path: Path) -> None:
    """Drops a half-written last line (full disk, power cut), after which no line could be read.

    The file is known to begin like a journal.

    Raises: TuningError where its last whole line is none of one: what is appended could not be read either.
    """
    if not path.exists():
        return
    with FileLock(_beside(path, "write.lock")), path.open("rb+") as handle:
        content = handle.read()  # Optuna reads all of it too
        whole = content.rfind(b"\n") + 1
        last = content[:whole].rstrip(b"\n").rpartition(b"\n")[2]
        if last and not _is_journal_line(last):
            raise TuningError(f"{path} is not an Optuna journal to its end: give another --storage")
        if whole < len(content):
            handle.truncate(whole)


def _is_journal_line(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _is_sqlite(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(len(SQLITE_BEGINNING)) == SQLITE_BEGINNING.encode()


def _sqlite_file(url: str) -> Path | None:
    """Returns the file of a SQLite URL, None for other databases and for one in memory."""
    from sqlalchemy import exc
    from sqlalchemy.engine import make_url

    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise TuningError(_unreachable(url, error)) from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def _check_tables(url: str) -> None:
    """Refuses a database that has tables, and none of Optuna's.

    MLflow's, for one, would be broken: both keep the version of their tables in one called alembic_version.
    Raises: OutputError; SQLAlchemyError where it cannot be read.
    """
    from sqlalchemy import create_engine, inspect

    engine = create_engine(url)
    try:
        tables = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if tables and not tables & OPTUNA_TABLES:
        raise OutputError(
            f"--storage {mask_passwords(url)} is the database of another program (it has a table "
            f"{min(tables)!r}): give a database of its own, or leave --storage out"
        )


def _open_database(url: str, heartbeat: int, grace: int) -> RDBStorage:
    """Connects, and tries again where two machines create the tables at the same moment."""
    from sqlalchemy import exc

    check_password(url)
    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    options: dict[str, Any] = {"pool_pre_ping": True} if not url.startswith("sqlite") else {}
    for attempt in range(CONNECT_ATTEMPTS):
        try:
            _check_tables(url)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    url, heartbeat_interval=heartbeat, grace_period=grace, engine_kwargs=options
                )
        except ImportError as error:
            raise TuningError(
                f"--storage {mask_passwords(url)} needs a database driver ({error}); for PostgreSQL install "
                "poster-ml[postgres]"
            ) from error
        except (exc.ProgrammingError, exc.IntegrityError) as error:
            if attempt == CONNECT_ATTEMPTS - 1:
                raise TuningError(_unreachable(url, error)) from error
            time.sleep(0.5 * (attempt + 1))
        except (exc.SQLAlchemyError, RuntimeError) as error:
            raise TuningError(_unreachable(url, error)) from error
    raise AssertionError("the loop returns or raises")


def _unreachable(url: str, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return mask_passwords(f"cannot use --storage {url}: {lines[0]}; check the URL and that the server runs")
