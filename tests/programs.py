"""Python in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from poster_ml.cli import app

PROJECT = Path(__file__).resolve().parent.parent
# For JAX: the compiler's care would cost more than the little that tests compute.
QUICK_COMPILER = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def run_python(
    *arguments: object, timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` in the project folder with these variables set; it must end well."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=PROJECT, env=os.environ | environment, timeout=timeout,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def wait_for(condition: Callable[[], Any], seconds: float = 60, pause: float = 0.02) -> Any:
    """Looks every `pause` seconds, not longer than that, until something holds; returns it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(pause)
    return found


def check_options(words: list[str]) -> None:
    """Refuses the words behind `poster-ml` where there is no such command, or it has no such option."""
    commands = typer.main.get_command(app).commands
    name, *arguments = [word for word in words if word not in ("--debug", "--quiet", "...")]
    assert name in commands, f"no command {name!r}"
    context = commands[name].context_class(commands[name], info_name=name)
    commands[name].make_parser(context).parse_args(arguments)
