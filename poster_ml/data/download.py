"""Posters by URL: many connections, polite to every host, resumable, and nothing that is no poster.

What happened to every movie stands in `download.csv` in the output folder. A line is appended as soon as a
poster is done, so a kill loses nothing; the next call continues where the last one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from poster_ml.data.fetch import Fetcher, FetchOptions, Outcome, Status, unusable_url
from poster_ml.data.image_kinds import SUFFIXES, is_image_name
from poster_ml.errors import DownloadError
from poster_ml.files import atomic_path, begins_with, check_output_file, remove_leftovers
from poster_ml.progress import progress

if TYPE_CHECKING:
    import pandas as pd

RECORD = "download.csv"
HEADER = [item.name for item in fields(Outcome)]


@dataclass(frozen=True)
class DownloadReport:
    """What a download did.

    Args:
        folder: where the posters are.
        record: the CSV with one row per movie.
        counts: movies per status: saved (now), present (from before), rejected (no usable URL),
            failed (will not get better: 404, no picture), unreachable (tried again by the next call).
        bytes: how much was saved now.
        seconds: how long it took.
        reasons: how often each reason for a missing poster came up, the most frequent first.
    """

    folder: Path
    record: Path
    counts: dict[str, int]
    bytes: int
    seconds: float
    reasons: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """Returns the report for people to read."""
        lines = [
            f"{self.counts['saved']} posters saved ({self.bytes / 1e6:.1f} MB in {self.seconds:.1f} s), "
            f"{self.counts['present']} were there, in {self.folder}"
        ]
        if self.reasons:
            lines.append(f"{sum(self.reasons.values())} movies without poster, see {self.record}:")
            lines += [f"  {number:>6}  {reason}" for reason, number in list(self.reasons.items())[:10]]
        if self.counts["unreachable"]:
            lines.append(f"the same command asks again for {self.counts['unreachable']} of them")
        return "\n".join(lines)


def download_posters(
    movies: pd.DataFrame,
    out: Path,
    options: FetchOptions | None = None,
    *,
    retry_failed: bool = False,
) -> DownloadReport:
    """Downloads the posters of a table as `out/<movie_id>.<ending by content>`.

    A poster that is there is kept, whoever put it there, and not fetched again; nor is one that failed for
    good, unless `retry_failed`. Movies with the same URL share one request.

    Args:
        movies: columns movie_id (unique) and image_url, as from `tables.read_table`.
        out: folder to fill; made where it is missing.
        options: connections, time-outs, retries, limits.
        retry_failed: ask again for what failed for good (404, no picture).

    Raises: DownloadError where no movie has a usable URL or there is no poster at the end; OutputError where
        `download.csv` in the folder is somebody else's; KeyboardInterrupt as it comes, with everything done
        until then kept.
    """
    started = time.monotonic()
    record = out / RECORD
    try:
        check_output_file(record, begins_with(",".join(HEADER)), "record of downloads", "--out")
        out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out, [*SUFFIXES, RECORD])  # half-written files of a kill
        before = read_record(record)
        jobs, outcomes = _plan(movies, out, before, retry_failed)
        if jobs:
            write_record(record, before.values())  # whole lines only, to append to
            asyncio.run(_fetch_all(jobs, out, options or FetchOptions(), outcomes))
        write_record(record, (outcomes[movie_id] for movie_id in movies["movie_id"]))
    except OSError as error:
        reason = error.strerror or error
        raise DownloadError(f"cannot write to {out}: {reason}; fix that and call again") from error
    counted = Counter(outcome.status for outcome in outcomes.values())
    counts = {status.value: counted[status] for status in Status}
    saved = sum(outcome.bytes for outcome in outcomes.values() if outcome.status == Status.SAVED)
    reasons = dict(Counter(outcome.reason for outcome in outcomes.values() if outcome.reason).most_common())
    if not counts["saved"] + counts["present"]:
        raise DownloadError(
            f"no poster could be downloaded for any of {len(movies)} movies, mostly: "
            f"{next(iter(reasons), 'the table has no rows')}; see {record} for each"
        )
    return DownloadReport(out, record, counts, saved, time.monotonic() - started, reasons)


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


def _plan(
    movies: pd.DataFrame, out: Path, before: dict[str, Outcome], retry_failed: bool
) -> tuple[dict[str, list[str]], dict[str, Outcome]]:
    """Returns what is to fetch (URL -> movie_ids) and the outcomes that are known without fetching."""
    present = {path.stem: path for path in out.iterdir() if is_image_name(path.name) and path.stat().st_size}
    jobs: dict[str, list[str]] = {}
    outcomes: dict[str, Outcome] = {}
    for movie_id, url in zip(movies["movie_id"], movies["image_url"], strict=True):
        earlier = before.get(movie_id)
        reason = unusable_url(url)
        if movie_id in present:
            path = present[movie_id]
            outcomes[movie_id] = Outcome(movie_id, url, Status.PRESENT, path.name, path.stat().st_size)
        elif reason:
            outcomes[movie_id] = Outcome(movie_id, url, Status.REJECTED, reason=reason)
        elif earlier and earlier.status == Status.FAILED and earlier.url == url and not retry_failed:
            outcomes[movie_id] = earlier
        else:
            jobs.setdefault(url, []).append(movie_id)
    return jobs, outcomes


async def _fetch_all(
    jobs: dict[str, list[str]], out: Path, options: FetchOptions, outcomes: dict[str, Outcome]
) -> None:
    """Fetches every URL once; the record gets each movie's line as soon as its file is there."""
    fetcher = Fetcher(options)
    async with fetcher.client:
        with (out / RECORD).open("a", newline="", encoding="utf-8") as record:

            async def one(url: str, movie_ids: list[str]) -> None:
                fetched, content = await fetcher.fetch(url)
                for movie_id in movie_ids:
                    file = fetched.file and movie_id + fetched.file
                    if file:
                        await asyncio.to_thread(_write, out / file, content)
                    outcomes[movie_id] = replace(fetched, movie_id=movie_id, file=file)
                    csv.writer(record).writerow(astuple(outcomes[movie_id]))
                    record.flush()  # the operating system keeps it through a kill

            tasks = [asyncio.create_task(one(url, movie_ids)) for url, movie_ids in jobs.items()]
            try:
                for task in progress(asyncio.as_completed(tasks), "downloading posters", total=len(tasks)):
                    await task
            finally:
                for unfinished in tasks:
                    unfinished.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
