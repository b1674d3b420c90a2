"""How a result is shown, and an error said in one line."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from poster_ml.files import printable


def show(result: Any, as_json: bool) -> None:
    """Prints a result on stdout: its own text, or JSON."""
    if as_json:
        print(json.dumps(plain(result), indent=2, default=str))
    elif hasattr(result, "text"):
        print(result.text())
    else:
        for name, value in plain(result).items():
            print(f"{name.replace('_', ' '):<24}{value}")


def plain(result: Any) -> Any:
    """Returns a dataclass as nested plain values."""
    return dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result  # type: ignore[arg-type]


def is_odd_name(error: BaseException) -> bool:
    """Whether a text could not be written since it holds bytes of a name that are no UTF-8."""
    return isinstance(error, UnicodeEncodeError) and "\udc80" <= error.object[error.start] <= "\udcff"


def one_line(error: BaseException) -> str:
    """Returns an error's message without line breaks, with the place for an operating system's error."""
    if isinstance(error, OSError):
        place = error.filename2 or error.filename or "a file"
        return printable(f"{place}: {error.strerror or error}; name one that you may read and write")
    if isinstance(error, UnicodeEncodeError):
        return f"the name {printable(error.object)} is no UTF-8, which is needed here: rename it"
    formatted = getattr(error, "format_message", None)
    text = formatted() if formatted is not None else str(error)
    if formatted is not None and not text.rstrip().endswith(("--help", "?)")):
        text = f"{text.rstrip('.')}; see 'poster-ml --help'"
    return printable(" ".join(text.split()))
