"""How far long work is, on stderr: a bar where a person is watching, else a line now and then.

Under `mlflow run`, nohup or CI stderr is not a terminal: there the log gets one line when the work
begins and one every half minute with what is done, what there is and how long the rest will take.
`--quiet` silences both. An item that takes longer than half a minute delays the line until it is
done. Every long loop of the project goes through here.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
logger = logging.getLogger(__name__)

QUIET_VARIABLE = "TQDM_DISABLE"  # reaches the processes that are started from here
LINE_INTERVAL = 30.0  # seconds between two lines of a log
BRIEF_SECONDS = 2.0  # before a bar appears for work that is usually over by then


class _LogLines(tqdm):
    """A tqdm that writes lines to the log in place of drawing a bar."""

    monitor_interval = 0  # no thread beside it: lines are written as the work goes

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Writes one line; called by tqdm at the start and whenever `mininterval` has passed."""
        over = self.total is not None and self.n >= self.total  # `close` says so
        if msg is None and not over:  # an empty message is how tqdm clears a bar
            logger.info("%s", self._line())

    def _line(self) -> str:
        """For example "decoding posters: 300 of 1,200 (25%), about 4 min left"."""
        if self.total is None:
            return f"{self.desc}: {self.n:,} so far" if self.n else self.desc
        line = f"{self.desc}: {self.n:,} of {self.total:,}"
        if self.n <= self.initial or self.total == 0:
            return line
        left = self.format_dict["elapsed"] / (self.n - self.initial) * (self.total - self.n)
        return f"{line} ({self.n / self.total:.0%}), about {duration(left)} left"

    def close(self) -> None:
        """Says how long it took, where that was long enough for lines in between."""
        spoken = not self.disable and self.last_print_t > self.start_t
        super().close()
        if spoken:
            seconds = self.format_dict["elapsed"]
            logger.info("%s", f"{self.desc}: {self.n:,} done in {duration(seconds)}")


def progress(
    items: Iterable[T], description: str, total: int | None = None, *, brief: bool = False
) -> Iterator[T]:
    """Yields the items and shows how far it is.

    Args:
        items: what is worked through.
        description: a few words, for example "decoding posters".
        total: how many there are, where `items` has no length; None where nobody knows.
        brief: usually over in seconds, for example one part of longer work: nothing is shown unless
            it takes longer.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(total, description, brief=brief) as bar:
        for item in items:
            yield item
            bar.update()


def progress_bar(total: int | None, description: str, *, initial: int = 0, brief: bool = False) -> tqdm[Any]:
    """Opens a context manager whose `update(n)` says that n more are done; `update(0)` is a sign of life.

    Args:
        total, description, brief: as for `progress`.
        initial: how many were done before, by an earlier process.
    """
    options: dict[str, Any] = {"total": total, "desc": description, "initial": initial, "leave": False}
    if os.environ.get(QUIET_VARIABLE):
        return tqdm(disable=True, **options)
    if sys.stderr.isatty():
        return tqdm(delay=BRIEF_SECONDS if brief else 0, **options)
    return _LogLines(
        mininterval=LINE_INTERVAL,
        miniters=0,  # look at the clock at every update
        delay=LINE_INTERVAL if brief else 0,
        file=io.StringIO(),  # where tqdm puts its control characters
        disable=not logger.isEnabledFor(logging.INFO),
        **options,
    )


def duration(seconds: float) -> str:
    """Returns a length of time as people say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
