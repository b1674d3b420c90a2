"""The program: global flags, exit codes, and one place where errors become one line."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
import warnings
from typing import Annotated

import typer

from poster_ml.cli.output import mistake, one_line
from poster_ml.errors import mask_passwords
from poster_ml.quiet import quiet_libraries

app = typer.Typer(
    name="poster-ml",
    help="Does a poster tell whether critics will like the movie, and what in it does?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
GLOBAL_FLAGS = ("--debug", "--quiet")
# Warnings of other packages that a user can do nothing about: category, message and module as for
# `warnings.filterwarnings`. Everything else is shown, what poster-ml itself warns of most of all.
HARMLESS: tuple[tuple[type[Warning], str, str], ...] = (
    (UserWarning, ".*type hint", "mlflow"),  # MLflow misses type hints on our served model
)


class _Masked(logging.Formatter):
    """Log lines without the passwords of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line to print."""
        return mask_passwords(super().format(record))


@app.callback()
def settings(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Results and errors only, no progress.")] = False,
) -> None:
    """Does a poster tell whether critics will like the movie, and what in it does?"""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Masked("%(message)s"))
    logger = logging.getLogger("poster_ml")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    quiet_libraries()
    if not debug:
        for category, message, module in HARMLESS:
            warnings.filterwarnings("ignore", message, category, module)
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"


def main() -> None:
    """Runs the command line and leaves with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; `--debug` and `--quiet` may stand anywhere.

    Returns: 0 done, 1 a bug, 2 the user's mistake, 130 interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "--debug" not in arguments:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    flags = [flag for flag in GLOBAL_FLAGS if flag in arguments]
    rest = [argument for argument in arguments if argument not in GLOBAL_FLAGS]
    debug = "--debug" in flags
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no text: they are shown with escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=[*flags, *rest], prog_name="poster-ml", standalone_mode=False)
        # Typer turns an interrupt into this code by itself.
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted: finished work is kept", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            print(mask_passwords(traceback.format_exc()), file=sys.stderr, end="")
        if said := mistake(error):
            print(f"error: {said}", file=sys.stderr)
            return 2
        hint = "" if debug else "; run again with --debug for the traceback"
        print(f"bug: {type(error).__name__}: {one_line(str(error))}{hint}", file=sys.stderr)
        return 1
