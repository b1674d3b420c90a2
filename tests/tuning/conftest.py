"""Studies on the surrogate, and a real PostgreSQL server where the distribution has one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poster_ml.config import SearchSpace, parse_space
from poster_ml.tuning.study import OpenStudy, StudySpec, open_study
from tests.tuning.surrogates import SPACE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return parse_space(SPACE, "surrogate")


@pytest.fixture
def spec(tmp_path: Path) -> StudySpec:
    return StudySpec("study", str(tmp_path / "optuna.db"), epochs=6, startup=3)


class Command:
    """A tuning command that can be started, killed and repeated."""

    def __init__(self, folder: Path, storage: str = "", scheduler: str = "") -> None:
        self.folder, self.storage, self.scheduler = folder, storage or str(folder / "optuna.db"), scheduler
        folder.mkdir(exist_ok=True)
        self.ledger = folder / "ledger"

    def start(self, trials: int, workers: int, seconds: float = 0.05) -> subprocess.Popen[str]:
        arguments = [self.folder, self.storage, trials, workers, seconds, self.scheduler, "random", "none"]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.tuning.command", *map(str, arguments)],
            start_new_session=True,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, trials: int, workers: int, seconds: float = 0.05) -> str:
        """Runs to the end; returns what stood on stderr."""
        process = self.start(trials, workers, seconds)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, "done\n"), err
        return err

    def lines(self, word: str) -> list[str]:
        text = self.ledger.read_text() if self.ledger.exists() else ""
        return [line for line in text.splitlines() if line.startswith(word)]

    def wait_for(self, word: str, count: int, timeout: float = 60.0) -> None:
        """Waits until there are that many lines of a kind."""
        end = time.monotonic() + timeout
        while len(self.lines(word)) < count:
            assert time.monotonic() < end, f"waited {timeout} s for {count} x {word}: {self.lines('')}"
            time.sleep(0.02)

    def opened(self) -> OpenStudy:
        return open_study(StudySpec("study", self.storage))


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path / "here")


@pytest.fixture
def make_command() -> type[Command]:
    return Command


def _postgres_binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0])
    )
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server of this session's own; skips, saying so, where there is none."""
    pytest.importorskip("psycopg", reason="no PostgreSQL driver: install poster-ml[postgres]")
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: install your distribution's package 'postgresql'")
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="poster-ml-postgres-"))
    options: dict[str, Any] = {"capture_output": True, "cwd": folder}
    if user:
        shutil.chown(folder, user)
        options["user"] = user
        options["env"] = {**os.environ, "HOME": str(folder)}
    data, port = folder / "data", _free_port()
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "tuner", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True,
        **options,
    )
    server = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    control = [binaries / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-o", server, "-l", folder / "log", "start"], check=True, **options)
    try:
        yield f"postgresql://tuner@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **options)
        shutil.rmtree(folder, ignore_errors=True)


def _server_user() -> str | None:
    """The server refuses to run as root: then it runs as the package's user, or as nobody."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
