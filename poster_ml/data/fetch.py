"""One poster from one URL: politeness, time-outs, retries, and the check that it is a poster at all."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import stamina

from poster_ml import __version__
from poster_ml.data.images import KINDS, THUMBNAIL, decode_poster
from poster_ml.errors import RequestError, one_line

if TYPE_CHECKING:
    import httpx

# A retry is no news: what came of each poster is in the record.
logging.getLogger("stamina").setLevel(logging.ERROR)

#: Answers that may be different next time.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_URL = re.compile(r"https?://[^/?#\s\[\]]+([^?#]*)", re.I)
_PLACEHOLDER = re.compile(
    r"place[-_]?holder|poster_default|default_poster|(?<![a-z])no[-_]?(image|poster|picture)", re.I
)
_MOST_REDIRECTS = 5
GIVEN_UP = "the host does not answer"
_HOST_GIVEN_UP = 5  # so many posters in a row without any answer: the host is down


@dataclass(frozen=True)
class FetchOptions:
    """How posters are fetched.

    Args:
        workers: requests at the same time, at least 1.
        per_host: requests at the same time to one host, at least 1.
        timeout: seconds for one request from the connection to the last byte, above 0.
        retries: further attempts after a passing fault, at least 0.
        backoff: seconds before the first retry, doubled for each next one, up to half of it more; at least 0.
        longest_wait: most seconds to wait before a retry; a server that asks for more is left for the next
            call. At least 0.
        max_bytes: a larger file is not a poster, at least 1.
    """

    workers: int = 8
    per_host: int = 4
    timeout: float = 30.0
    retries: int = 3
    backoff: float = 0.5
    longest_wait: float = 60.0
    max_bytes: int = 20_000_000


class Status(StrEnum):
    """What became of one poster."""

    SAVED = "saved"  # fetched now
    PRESENT = "present"  # was there before
    REJECTED = "rejected"  # the table gives no usable URL
    FAILED = "failed"  # will not get better: not found, no picture
    UNREACHABLE = "unreachable"  # may get better: asked again by the next call


@dataclass(frozen=True)
class Outcome:
    """What came of one movie's poster.

    Args:
        movie_id: the movie.
        url: what was asked for.
        status: what became of it.
        file: name of the poster in the folder, "" without one.
        bytes: size of the file.
        http_status: the server's last answer, 0 without one.
        attempts: how often the server was asked.
        reason: why there is not a poster.
    """

    movie_id: str
    url: str
    status: Status
    file: str = ""
    bytes: int = 0
    http_status: int = 0
    attempts: int = 0
    reason: str = ""


@dataclass(eq=False)
class _FetchError(Exception):
    """One attempt came to nothing; where `passing`, another may do better, after `wait` seconds."""

    reason: str
    passing: bool
    http_status: int = 0
    wait: float = 0.0


@dataclass
class _Host:
    """What is known of one host: free places, when it may be asked next, whether it is down."""

    slots: asyncio.Semaphore
    next_start: float = 0.0
    silent: int = 0  # posters in a row that ended without any answer


def unusable_url(url: str) -> str:
    """Says why a URL cannot be fetched; "" where it can.

    A relative path (the study's placeholder GIFs), another scheme than http and https, a URL
    without host, and a path that names itself a placeholder.
    """
    whole = _URL.match(url)
    if not whole:
        return "not a whole http or https URL" if url else "no URL"
    return "a placeholder by its name" if _PLACEHOLDER.search(whole[1].rpartition("/")[2]) else ""


def check_poster(content: bytes) -> str:
    """Makes sure that what was fetched is a poster, as `images.decode_poster` wants one.

    Returns: the ending that its content calls for, for example ".jpg".
    Raises: RequestError with the reason, also for GIF and BMP: sites answer with these where they
        have no poster.
    """
    poster = decode_poster(content, THUMBNAIL)
    kind = "JPEG" if poster.format == "MPO" else poster.format  # a JPEG with more pictures behind the first
    if kind in ("BMP", "GIF"):
        raise RequestError(f"a {kind} of {poster.width}x{poster.height}: placeholders are, posters are not")
    return KINDS[kind][0]


class Fetcher:
    """Fetches posters, politely to every host, while its `client` is open in an `async with` block."""

    def __init__(self, options: FetchOptions) -> None:
        import httpx

        self.client = httpx.AsyncClient(
            follow_redirects=True,
            max_redirects=_MOST_REDIRECTS,
            timeout=options.timeout,
            limits=httpx.Limits(max_connections=options.workers),
            headers={
                "User-Agent": f"poster-ml/{__version__}",
                "Accept": "image/*",
                "Accept-Encoding": "identity",  # pictures are packed; a packed answer may be a bomb
            },
        )
        self._options = options
        self._slots = asyncio.Semaphore(options.workers)
        self._hosts: defaultdict[str, _Host] = defaultdict(lambda: _Host(asyncio.Semaphore(options.per_host)))

    async def fetch(self, url: str) -> tuple[Outcome, bytes]:
        """Fetches one poster, with retries; never raises for what a server does.

        Returns: the outcome, without movie_id and with the ending of the file's name as `file`; the content.
        """
        host, options, attempts = self._hosts[urlsplit(url).netloc.lower()], self._options, 0
        schedule = stamina.retry_context(
            on=partial(self._try_again, host),
            attempts=options.retries + 1,
            timeout=None,
            wait_initial=options.backoff,
            wait_max=options.longest_wait,
            wait_jitter=options.backoff / 2,
        )
        async with host.slots:
            if host.silent >= _HOST_GIVEN_UP:
                return Outcome("", url, Status.UNREACHABLE, reason=GIVEN_UP), b""
            try:
                async for attempt in schedule:
                    with attempt:
                        attempts = attempt.num
                        content, suffix, http_status = await self._attempt(url, host)
            except _FetchError as fault:
                host.silent = 0 if fault.http_status else host.silent + 1
                status = Status.UNREACHABLE if fault.passing else Status.FAILED
                return Outcome("", url, status, "", 0, fault.http_status, attempts, fault.reason), b""
            host.silent = 0
            return Outcome("", url, Status.SAVED, suffix, len(content), http_status, attempts), content

    def _try_again(self, host: _Host, fault: Exception) -> bool | float:
        """Whether another attempt is due; the seconds to wait where the server asked for some.

        The whole host waits with it. A server that asks for more than `longest_wait` is left for later.
        """
        most = self._options.longest_wait
        if not isinstance(fault, _FetchError) or not fault.passing or fault.wait > most:
            return False
        host.next_start = max(host.next_start, time.monotonic() + fault.wait)
        return fault.wait or True

    async def _attempt(self, url: str, host: _Host) -> tuple[bytes, str, int]:
        """Asks once; returns the content, the ending that it calls for and the server's status."""
        import httpx

        while (wait := host.next_start - time.monotonic()) > 0:  # it may move on while we wait
            await asyncio.sleep(wait)
        answered = 0
        try:
            limit = asyncio.timeout(self._options.timeout)
            async with self._slots, limit, self.client.stream("GET", url) as response:
                answered = response.status_code
                content = await self._receive(response)
            return content, check_poster(content), answered
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, RequestError) as error:
            reason = one_line(error, 1000)
            if isinstance(error, TimeoutError):  # to drip without end is not an answer
                reason, answered = f"no whole answer in {self._options.timeout:g} s", 0
            lasting = (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL, RequestError)
            passing = not isinstance(error, lasting) or reason.startswith("broken image")
            raise _FetchError(reason, passing, answered) from error

    async def _receive(self, response: httpx.Response) -> bytes:
        """Reads one answer to its end, or as far as it is worth it."""
        status, limit = response.status_code, self._options.max_bytes
        if status != 200:
            passing = status in _PASSING
            wait = _retry_after(response.headers.get("Retry-After", "")) if passing else 0.0
            raise _FetchError(f"the server answers {status}", passing, status, wait)
        content = bytearray()
        announced = int(response.headers.get("Content-Length", 0))
        if announced <= limit:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > limit:
                    break
        if max(announced, len(content)) > limit:
            raise _FetchError(f"larger than {limit} bytes", passing=False, http_status=status)
        return bytes(content)


def _retry_after(value: str) -> float:
    """Reads a Retry-After header, seconds or a date; 0 where it says nothing."""
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - time.time())
