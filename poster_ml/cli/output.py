"""How a command is run and its result shown, and an error said in one line."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import typer

from poster_ml.errors import PosterMLError, mask_passwords
from poster_ml.files import check_output_folder, command_result, printable
from poster_ml.quiet import load_keras

# Typer carries its own copy of click; its classes are reached through a public name.
UsageError: Any = typer.BadParameter.__mro__[1]
# Paths that are missing, forbidden, of the wrong kind or full; all else is a bug of ours.
_OF_A_PATH = (
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR, errno.ENOTDIR,
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTEMPTY,
)  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run_command(
    name: str,
    options: dict[str, Any],
    *,
    function: str = "",
    folder: Path | None = None,
    keras: bool = True,
    show: bool = True,
) -> None:
    """Runs a command of `poster_ml.commands` and prints its result on stdout: its own text, or JSON.

    Args:
        name: of the command and its module.
        options: by the names of the function's parameters, and `as_json`; what is None or an empty text was
            not given, so that the function's own default holds.
        function: of the module; empty takes `run_NAME`.
        folder: that the command writes, refused before Keras is imported where it holds something else.
        keras: whether the command needs it; imported first, since it takes seconds and writes to stderr.
        show: False where the command prints by itself.
    """
    if folder is not None:
        check_output_folder(folder, command_result(name))
    if keras:
        load_keras()
    module = importlib.import_module(f"poster_ml.commands.{name}")
    given = {key: value for key, value in options.items() if value is not None and value != ""}
    as_json = given.pop("as_json", False)
    result = getattr(module, function or f"run_{name}")(**given)
    if not show:
        return
    plain = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(plain, indent=2, default=str))
    elif hasattr(result, "text"):
        print(result.text())
    else:
        for key, value in plain.items():
            print(f"{key.replace('_', ' '):<24}{value}")


def one_line(text: str) -> str:
    """Returns a message without line breaks and passwords."""
    return printable(mask_passwords(" ".join(text.split())))


def mistake(error: Exception) -> str:
    """Returns in one line what the user can put right; empty for a bug of ours."""
    text = ""
    if isinstance(error, OSError) and (
        error.errno in _FULL or (error.errno in _OF_A_PATH and error.filename is not None)
    ):
        path = error.filename2 or error.filename or "a file"
        remedy = "make room there" if error.errno in _FULL else "name one that you may read and write"
        text = f"{path}: {error.strerror or error}; {remedy}"
    elif isinstance(error, UnicodeEncodeError) and "\udc80" <= error.object[error.start] <= "\udcff":
        text = f"the name {printable(error.object)} is not UTF-8, which is needed here: rename it"
    elif isinstance(error, UsageError):
        text = error.format_message().replace("Value error, ", "")
        for fault in getattr(error.__cause__, "errors", list)():  # pydantic's, which leave out the value
            text = text.replace("Input should be ", f"received {fault['input']!r}, allowed: ")
            text = text.partition(", unable to parse")[0]
        if not text.rstrip().endswith(("--help", "?)")):
            text = f"{text.rstrip('.')}; see 'poster-ml --help'"
    elif isinstance(error, PosterMLError):
        text = str(error)
    elif "mlflow" in sys.modules:  # who never reached a store need not wait for it
        from poster_ml.tracking.store import describe_outage, is_outage

        text = describe_outage(error) if is_outage(error) else ""
    return one_line(text)
