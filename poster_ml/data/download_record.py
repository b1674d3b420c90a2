"""`download.csv`: what happened to every movie's poster. Appended to line by line, read back after a kill."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from poster_ml.files import atomic_path


class Status(StrEnum):
    """What became of one poster."""

    SAVED = "saved"  # fetched now
    PRESENT = "present"  # was there before
    REJECTED = "rejected"  # the table gives no usable URL
    FAILED = "failed"  # will not get better: not found, no picture
    UNREACHABLE = "unreachable"  # may get better: asked again by the next call


@dataclass(frozen=True)
class Outcome:
    """One line of the record.

    Args:
        movie_id: the movie.
        url: what was asked for.
        status: what became of it.
        file: name of the poster in the folder, "" without one.
        bytes: size of the file.
        http_status: the server's last answer, 0 without one.
        attempts: how often the server was asked.
        reason: why there is no poster.
    """

    movie_id: str
    url: str
    status: Status
    file: str = ""
    bytes: int = 0
    http_status: int = 0
    attempts: int = 0
    reason: str = ""


HEADER = [item.name for item in fields(Outcome)]


def read_record(path: Path) -> dict[str, Outcome]:
    """Returns the last outcome of every movie; a line torn by a kill is as good as none."""
    outcomes: dict[str, Outcome] = {}
    if not path.exists():
        return outcomes
    with path.open(newline="", encoding="utf-8", errors="replace") as handle:
        for line in csv.reader(handle):
            with contextlib.suppress(ValueError):  # the header, a torn line
                movie_id, url, status, file, *numbers, reason = line
                size, http_status, attempts = map(int, numbers)
                outcomes[movie_id] = Outcome(
                    movie_id, url, Status(status), file, size, http_status, attempts, reason
                )
    return outcomes


def write_record(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Replaces the record by one line per outcome."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([HEADER, *map(astuple, outcomes)])


def append_to_record(handle: TextIO, outcome: Outcome) -> None:
    """Adds one line and hands it to the operating system, which keeps it through a kill."""
    csv.writer(handle).writerow(astuple(outcome))
    handle.flush()
