"""Many posters decoded on all cores, in order, with a bounded number in memory."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from poster_ml.data.duplicates import colour_print, perceptual_hash
from poster_ml.data.images import Pixels, decode_poster, read_bytes
from poster_ml.errors import RequestError


@dataclass(frozen=True)
class PreparedPoster:
    """What is kept of one poster.

    Attributes:
        pixels: (size, size, 3) uint8 RGB.
        colour_print: (768,) uint8, see `duplicates.colour_print`.
        facts: what the index says of the file: sha256, width and height (upright), file_bytes, format,
            perceptual_hash (64 bits, hexadecimal).
    """

    pixels: Pixels
    colour_print: Pixels
    facts: dict[str, str | int]


Result = PreparedPoster | str  # or the reason why not


def prepare_posters(
    paths: Sequence[Path], size: int, fit: str, workers: int | None = None
) -> Iterator[Result]:
    """Decodes files on all cores and yields the results in the order of `paths`.

    Threads: Pillow and NumPy compute outside Python's lock, and no pixel has to go through a pipe. A few
    posters per thread are under way, so memory does not grow with their number.

    Args:
        paths: files; one that is missing yields its reason.
        size, fit: as for `images.decode_poster`.
        workers: threads, at least 1; None takes every core this process may use.
    """
    threads = workers if workers is not None else _available_cores()
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for path in paths:
                under_way.append(pool.submit(prepare_poster, path, size, fit))
                if len(under_way) == 4 * threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def prepare_poster(path: Path, size: int, fit: str) -> Result:
    """Decodes and fingerprints one file; returns the reason where it cannot be used."""
    try:
        data = read_bytes(path)
        poster = decode_poster(data, size, fit)
    except RequestError as error:
        return str(error)
    except MemoryError:
        return "broken image: memory ran out while decoding it"
    facts: dict[str, str | int] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": poster.width,
        "height": poster.height,
        "file_bytes": len(data),
        "format": poster.format,
        "perceptual_hash": f"{perceptual_hash(poster.thumbnail):016x}",
    }
    return PreparedPoster(poster.pixels, colour_print(poster.thumbnail), facts)


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
