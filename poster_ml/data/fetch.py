"""One poster from one URL: politeness, time-outs, retries, and the check that it is a poster at all."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import stamina

from poster_ml import __version__
from poster_ml.data.download_record import Outcome, Status
from poster_ml.data.image_kinds import KINDS
from poster_ml.data.images import THUMBNAIL, decode_poster
from poster_ml.errors import DownloadError, RequestError

if TYPE_CHECKING:
    import httpx

# A retry is no news: what came of each poster is in the record.
logging.getLogger("stamina").setLevel(logging.ERROR)

#: Answers that may be different next time.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_PLACEHOLDER_KINDS = frozenset({"BMP", "GIF"})
_PLACEHOLDER = re.compile(
    r"place[-_]?holder|poster_default|default_poster|(?<![a-z])no[-_]?(image|poster|picture)", re.I
)
_MOST_REDIRECTS = 5
_HOST_GIVEN_UP = 5  # so many posters in a row without any answer: the host is down


@dataclass(frozen=True)
class FetchOptions:
    """How posters are fetched.

    Args:
        workers: requests at the same time, at least 1.
        per_host: requests at the same time to one host, at least 1.
        delay: least seconds between the starts of two requests to one host, at least 0.
        timeout: seconds for one request from the connection to the last byte, above 0.
        retries: further attempts after a passing fault, at least 0.
        backoff: seconds before the first retry, doubled for each next one, up to half of it more; at least 0.
        longest_wait: most seconds to wait before a retry; a server that asks for more is left for the next
            call. At least 0.
        max_bytes: a larger file is no poster, at least 1.

    Raises: DownloadError for a value out of range.
    """

    workers: int = 8
    per_host: int = 4
    delay: float = 0.0
    timeout: float = 30.0
    retries: int = 3
    backoff: float = 0.5
    longest_wait: float = 60.0
    max_bytes: int = 20_000_000

    def __post_init__(self) -> None:
        """Checks the ranges."""
        least = {"workers": 1, "per_host": 1, "max_bytes": 1}
        for name, value in vars(self).items():
            low = least.get(name, 0)
            if not (math.isfinite(value) and value >= low) or (name == "timeout" and value == 0):
                wanted = "above 0" if name == "timeout" else f"at least {low}"
                raise DownloadError(f"{name} must be {wanted}, got {value}")


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

    A relative path (the study's placeholder GIFs), another scheme than http and https, a URL without host,
    and a path that names itself a placeholder.
    """
    if not url:
        return "no URL"
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "not a URL"
    if not parts.scheme:
        return "a relative path, not a URL"
    if parts.scheme.lower() not in ("http", "https"):
        return f"scheme {parts.scheme[:20]!r}: only http and https are fetched"
    if not host:
        return "a URL without host"
    return "a placeholder by its name" if _PLACEHOLDER.search(parts.path.rsplit("/", 1)[-1]) else ""


def check_poster(content: bytes) -> str:
    """Makes sure that what was fetched is a poster, as `images.decode_poster` wants one.

    Returns: the ending that its content calls for, for example ".jpg".
    Raises: RequestError with the reason, also for GIF and BMP: sites answer with these where they have no
        poster.
    """
    poster = decode_poster(content, THUMBNAIL)
    kind = "JPEG" if poster.format == "MPO" else poster.format  # a JPEG with more pictures behind the first
    if kind in _PLACEHOLDER_KINDS:
        raise RequestError(f"a {kind} of {poster.width}x{poster.height}: placeholders are, posters are not")
    return KINDS[kind][0]


def open_client(options: FetchOptions) -> httpx.AsyncClient:
    """Returns what holds the connections, to be used in an `async with` block."""
    import httpx

    return httpx.AsyncClient(
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
        timeout=options.timeout,
        limits=httpx.Limits(max_connections=options.workers, max_keepalive_connections=options.workers),
        headers={
            "User-Agent": f"poster-ml/{__version__}",
            "Accept": "image/*",
            "Accept-Encoding": "identity",  # pictures are packed; a packed answer may be a bomb
        },
    )


class Fetcher:
    """Fetches posters through one client, politely to every host."""

    def __init__(self, options: FetchOptions, client: httpx.AsyncClient) -> None:
        self._options = options
        self._client = client
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
            try:
                async for attempt in schedule:
                    with attempt:
                        if host.silent >= _HOST_GIVEN_UP:
                            reason = "the host does not answer"
                            return Outcome("", url, Status.UNREACHABLE, attempts=attempts, reason=reason), b""
                        attempts = attempt.num
                        content, suffix, http_status = await self._attempt(url, host)
                        host.silent = 0
                        size = len(content)
                        return Outcome("", url, Status.SAVED, suffix, size, http_status, attempts), content
            except _FetchError as fault:
                host.silent = 0 if fault.http_status else host.silent + 1
                status = Status.UNREACHABLE if fault.passing else Status.FAILED
                return Outcome("", url, status, "", 0, fault.http_status, attempts, fault.reason), b""
        raise AssertionError("the schedule ends in a return or in the last fault")

    def _try_again(self, host: _Host, fault: Exception) -> bool | float:
        """Whether another attempt is due; the seconds to wait where the server asked for some.

        The whole host waits with it. A server that asks for more than `longest_wait` is left for later.
        """
        if not isinstance(fault, _FetchError) or not fault.passing:
            return False
        if fault.wait > self._options.longest_wait:
            return False
        host.next_start = max(host.next_start, time.monotonic() + fault.wait)
        return fault.wait or True

    async def _attempt(self, url: str, host: _Host) -> tuple[bytes, str, int]:
        import httpx

        await self._await_turn(host)
        async with self._slots:
            try:
                async with asyncio.timeout(self._options.timeout):
                    content, http_status = await self._receive(url)
            except TimeoutError as error:
                raise _FetchError(f"no whole answer in {self._options.timeout:g} s", passing=True) from error
            except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise _FetchError(_one_line(error), passing=False) from error
            except httpx.HTTPError as error:
                raise _FetchError(_one_line(error), passing=True) from error
        try:
            return content, check_poster(content), http_status
        except RequestError as error:
            cut_short = str(error).startswith("broken image")
            raise _FetchError(str(error), passing=cut_short, http_status=http_status) from error

    async def _await_turn(self, host: _Host) -> None:
        """Waits until the host may be asked again, and books the turn after."""
        while (now := time.monotonic()) < host.next_start:  # it may move on while we wait
            await asyncio.sleep(host.next_start - now)
        host.next_start = now + self._options.delay

    async def _receive(self, url: str) -> tuple[bytes, int]:
        """Reads one answer to its end, or as far as it is worth it."""
        import httpx

        limit = self._options.max_bytes
        async with self._client.stream("GET", url) as response:
            status = response.status_code
            if status != 200:
                passing = status in _PASSING
                wait = _retry_after(response.headers.get("Retry-After", "")) if passing else 0.0
                raise _FetchError(
                    f"the server answers {status}", passing=passing, http_status=status, wait=wait
                )
            too_large = _FetchError(f"larger than {limit} bytes", passing=False, http_status=status)
            announced = response.headers.get("Content-Length", "")
            if announced.isdigit() and int(announced) > limit:
                raise too_large
            content = bytearray()
            try:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > limit:
                        raise too_large
            except httpx.HTTPError as error:  # the host answers, but breaks off
                raise _FetchError(_one_line(error), passing=True, http_status=status) from error
            return bytes(content), status


def _retry_after(value: str) -> float:
    """Reads a Retry-After header, seconds or a date; 0 where it says nothing."""
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - time.time())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
