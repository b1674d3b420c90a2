"""`download.csv`: what happened to every movie's poster. Appended to line by line, read back after a kill."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from pathlib import Path

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


class Record:
    """The record of one output folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Outcome]:
        """Returns the last outcome of every movie; a line torn by a kill is as good as none."""
        if not self.path.exists():
            return {}
        outcomes: dict[str, Outcome] = {}
        with self.path.open(newline="", encoding="utf-8", errors="replace") as handle:
            for line in csv.reader(handle):
                try:
                    movie_id, url, status, file, size, http_status, attempts, reason = line
                    outcome = Outcome(
                        movie_id,
                        url,
                        Status(status),
                        file,
                        int(size),
                        int(http_status),
                        int(attempts),
                        reason,
                    )
                except ValueError:  # the header, a torn line
                    continue
                outcomes[movie_id] = outcome
        return outcomes

    def append(self, outcome: Outcome) -> None:
        """Adds one line and hands it to the operating system, which keeps it through a kill."""
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            if new:
                writer.writerow(HEADER)
            elif not self._ends_with_newline():
                handle.write("\n")
            writer.writerow(_values(outcome))

    def rewrite(self, outcomes: Iterable[Outcome]) -> None:
        """Replaces the record by one line per movie."""
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(HEADER)
            writer.writerows(_values(outcome) for outcome in outcomes)

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as handle:
            handle.seek(0, 2)
            if handle.tell() == 0:
                return True
            handle.seek(-1, 2)
            return handle.read(1) == b"\n"


def _values(outcome: Outcome) -> tuple[object, ...]:
    return astuple(outcome)
