"""Studies on the surrogate, and a real PostgreSQL server where the distribution has one."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from poster_ml.search_space import parse_space
from poster_ml.tuning.study import StudySpec
from tests.tuning.command import Command
from tests.tuning.surrogates import SPACE


@pytest.fixture(scope="session")
def space():
    return parse_space(SPACE, "surrogate")


@pytest.fixture
def spec(tmp_path):
    return StudySpec("study", str(tmp_path / "optuna.db"), epochs=6, startup=3)


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path / "here")


@pytest.fixture(scope="session")
def postgres():
    """URL of a PostgreSQL server of this session's own; skips, saying so, where there is none."""
    pytest.importorskip("psycopg", reason="no PostgreSQL driver: install poster-ml[postgres]")
    found = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    binaries = next((Path(path).parent for path in found if path), None)
    if binaries is None:
        pytest.skip("no PostgreSQL server here: install your distribution's package 'postgresql'")
    folder = Path(tempfile.mkdtemp(prefix="poster-ml-postgres-"))
    options: dict[str, Any] = {"capture_output": True, "cwd": folder}
    if os.geteuid() == 0:  # the server refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        options["user"] = "postgres" if "postgres" in names else "nobody"
        options["env"] = {**os.environ, "HOME": str(folder)}
        shutil.chown(folder, options["user"])
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "tuner", "--auth=trust", "--no-sync"], check=True, **options
    )
    control = [binaries / "pg_ctl", "-D", data, "-w"]
    server = f"-c listen_addresses= -k {folder} -c fsync=off"
    subprocess.run([*control, "-o", server, "-l", folder / "log", "start"], check=True, **options)
    try:
        yield f"postgresql://tuner@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **options)
        shutil.rmtree(folder, ignore_errors=True)
