"""Posters by URL: many connections, polite to every host, resumable, and nothing that is not a poster.

What happened to every movie stands in `download.csv` in the output folder. A line is appended as soon as a
poster is done, so a kill loses nothing; the next call continues where the last one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass, field, fields, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from poster_ml.data.fetch import GIVEN_UP, Fetcher, FetchOptions, Outcome, Status, unusable_url
from poster_ml.data.images import SUFFIXES, is_image_name
from poster_ml.errors import DownloadError
from poster_ml.files import atomic_path, begins_with, check_output_file, remove_leftovers
from poster_ml.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from poster_ml.cluster import Client

_URLS_PER_TASK = 64
RECORD = "download.csv"
HEADER = [item.name for item in fields(Outcome)]
Job = tuple[str, list[str]]  # a URL and the movies whose poster is there


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
    open_client: Callable[[], AbstractContextManager[Client | None]] = nullcontext,
) -> DownloadReport:
    """Downloads the posters of a table as `out/<movie_id>.<ending by content>`.

    A poster that is there is kept, whoever put it there, and not fetched again; nor is one that
    failed for good, unless `retry_failed`. Movies with the same URL share one request.

    Args:
        movies: columns movie_id (unique) and image_url, as from `tables.read_table`.
        out: folder to fill; made where it is missing.
        options: connections, time-outs, retries, limits.
        retry_failed: ask again for what failed for good (404, no picture).
        open_client: gives a cluster whose workers see `out`: one of them at a time asks a host.
            None: here.

    Raises: DownloadError where no movie has a usable URL or there is not a poster at the end;
        OutputError where `download.csv` in the folder is somebody else's; KeyboardInterrupt as it
        comes, with everything done until then kept.
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
            with open_client() as client:
                _fetch(client, jobs, out, options or FetchOptions(), outcomes)
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


def _fetch(
    client: Client | None,
    jobs: dict[str, list[str]],
    out: Path,
    options: FetchOptions,
    outcomes: dict[str, Outcome],
) -> None:
    """Fetches every URL once; the record gets each movie's line when its file is there."""
    with (
        (out / RECORD).open("a", newline="", encoding="utf-8") as record,
        progress_bar(len(jobs), "downloading posters") as bar,
    ):

        def note(outcomes_of_url: list[Outcome]) -> None:
            outcomes.update({outcome.movie_id: outcome for outcome in outcomes_of_url})
            csv.writer(record).writerows(map(astuple, outcomes_of_url))
            record.flush()  # the operating system keeps it through a kill
            bar.update()

        if client is None:
            asyncio.run(_fetch_all(jobs, out, options, note))
        else:
            _fetch_on(client, jobs, out, options, note)


async def _fetch_all(
    jobs: dict[str, list[str]], out: Path, options: FetchOptions, note: Callable[[list[Outcome]], None]
) -> None:
    """Fetches every URL once and notes what came of it for its movies, as soon as their files are there."""
    fetcher = Fetcher(options)
    async with fetcher.client:

        async def one(url: str, movie_ids: list[str]) -> None:
            fetched, content = await fetcher.fetch(url)
            file = {movie_id: fetched.file and movie_id + fetched.file for movie_id in movie_ids}
            for name in filter(None, file.values()):
                await asyncio.to_thread(_write, out / name, content)
            note([replace(fetched, movie_id=movie_id, file=name) for movie_id, name in file.items()])

        tasks = [asyncio.create_task(one(url, movie_ids)) for url, movie_ids in jobs.items()]
        try:
            for task in asyncio.as_completed(tasks):
                await task
        finally:
            for unfinished in tasks:
                unfinished.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _fetch_on(
    client: Client,
    jobs: dict[str, list[str]],
    out: Path,
    options: FetchOptions,
    note: Callable[[list[Outcome]], None],
) -> None:
    """Fetches on a cluster, in parts of a single host, so that one worker at a time asks it.

    A part that killed its workers is fetched again URL by URL: it fails for the one whose picture does it.
    """
    from poster_ml.cluster import KILLED, map_in_order

    hosts: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs.items():
        hosts[urlsplit(job[0]).netloc.lower()].append(job)
    waiting: dict[str, deque[list[Job]]] = {}
    for host, of_host in hosts.items():
        starts = range(0, len(of_host), _URLS_PER_TASK)
        waiting[host] = deque(of_host[start : start + _URLS_PER_TASK] for start in starts)
    task = partial(_fetch_part, out=out.absolute(), options=options)
    while waiting:
        parts = [(host, left.popleft()) for host, left in waiting.items()]
        for [(host, part)], answers in map_in_order(client, task, parts, batch=1):
            if answers is None and len(part) > 1:
                waiting[host].extendleft([job] for job in reversed(part))
                continue
            for outcomes in answers or [_without(*part[0], Status.FAILED, KILLED)]:
                note(outcomes)
            if any(outcomes[0].reason == GIVEN_UP for outcomes in answers or ()):
                for job in chain(*waiting[host]):
                    note(_without(*job, Status.UNREACHABLE, GIVEN_UP))
                waiting[host].clear()
        waiting = {host: left for host, left in waiting.items() if left}


def _fetch_part(parts: list[tuple[str, list[Job]]], out: Path, options: FetchOptions) -> list[list[Outcome]]:
    """The task: fetches a part of one host's posters."""
    found: list[list[Outcome]] = []
    asyncio.run(_fetch_all(dict(parts[0][1]), out, options, found.append))
    return found


def _without(url: str, movie_ids: list[str], status: Status, reason: str) -> list[Outcome]:
    return [Outcome(movie_id, url, status, reason=reason) for movie_id in movie_ids]


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
