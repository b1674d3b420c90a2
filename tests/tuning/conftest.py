"""Studies on the surrogate, and a real PostgreSQL server where the distribution has one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from poster_ml.config import SearchSpace, parse_space
from poster_ml.tuning.study import StudySpec
from tests.tuning.surrogates import SPACE

ROOT = Path(__file__).parents[2]

# What a user's command does, in small: opens the study, runs workers, is repeated by the same words.
COMMAND = """
import sys
from pathlib import Path
from poster_ml.config import parse_space
from poster_ml.tuning.study import StudySpec, open_study
from tests.tuning.surrogates import SPACE, SurrogateObjective
from poster_ml.tuning.work import Job
from poster_ml.tuning.workers import run_workers

if __name__ == "__main__":
    folder, storage, trials, workers, seconds, heartbeat, grace = sys.argv[1:]
    spec = StudySpec("study", storage, epochs=6, startup=3, heartbeat=int(heartbeat), grace=int(grace))
    opened = open_study(spec, {"space": "surrogate"})
    job = Job(
        spec, parse_space(SPACE, "surrogate"), SurrogateObjective(6, float(seconds), Path(folder) / "ledger"),
        int(trials), Path(folder) / "work", points=({"model.dropout": 0.5},), since=len(opened.trials()),
    )
    print(run_workers(job, opened, int(workers)))
"""


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return parse_space(SPACE, "surrogate")


@pytest.fixture
def spec(tmp_path: Path) -> StudySpec:
    return StudySpec("study", str(tmp_path / "optuna-journal.log"), epochs=6, startup=3)


class Command:
    """A tuning command that can be started, killed and repeated."""

    def __init__(self, folder: Path, storage: str, heartbeat: int = 1, grace: int = 3) -> None:
        self.folder, self.storage, self.heartbeat, self.grace = folder, storage, heartbeat, grace
        self.script = folder / "command.py"
        self.script.write_text(textwrap.dedent(COMMAND))
        self.ledger = folder / "ledger"

    def start(self, trials: int, workers: int, seconds: float = 0.05) -> subprocess.Popen[str]:
        arguments = [self.folder, self.storage, trials, workers, seconds, self.heartbeat, self.grace]
        return subprocess.Popen(
            [sys.executable, str(self.script), *map(str, arguments)],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},  # the objective lies among the tests
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self, word: str) -> list[str]:
        text = self.ledger.read_text() if self.ledger.exists() else ""
        return [line for line in text.splitlines() if line.startswith(word)]

    def wait_for(self, word: str, count: int, timeout: float = 60.0) -> None:
        """Waits until that many trials have begun or ended."""
        end = time.monotonic() + timeout
        while len(self.lines(word)) < count:
            assert time.monotonic() < end, f"waited {timeout} s for {count} x {word}: {self.lines('')}"
            time.sleep(0.02)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a command (not multiprocessing's resource tracker)."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path, str(tmp_path / "optuna-journal.log"))


@pytest.fixture(scope="session")
def make_command() -> type[Command]:
    return Command


@pytest.fixture(scope="session")
def find_workers() -> Callable[[subprocess.Popen[str]], list[psutil.Process]]:
    return workers_of


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
