"""Many posters decoded on all cores, in order, with a bounded number in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from poster_ml.data.duplicates import colour_print, perceptual_hash
from poster_ml.data.images import Pixels, decode_poster, read_bytes
from poster_ml.errors import RequestError

if TYPE_CHECKING:
    from poster_ml.cluster import Client

_BATCH = 16  # posters per task of a cluster: 2.4 MB of pixels at 224


@dataclass(frozen=True)
class PreparedPoster:
    """What is kept of one poster.

    Attributes:
        pixels: (size, size, 3) uint8 RGB.
        colour_print: (768,) uint8, see `duplicates.colour_print`.
        facts: what the index says of the file: sha256, width and height (upright), file_bytes,
            format, perceptual_hash (64 bits, hexadecimal).
    """

    pixels: Pixels
    colour_print: Pixels
    facts: dict[str, str | int]


Result = PreparedPoster | str  # or the reason why not


def prepare_posters(
    paths: Sequence[Path], size: int, fit: str, workers: int | Client | None = None
) -> Iterator[Result]:
    """Decodes files on all cores, or on a cluster, and yields the results in the order of `paths`.

    Threads: Pillow and NumPy compute outside Python's lock, and no pixel has to go through a pipe. A few
    posters per thread are under way, so memory does not grow with their number.

    Args:
        paths: files; one that is missing yields its reason.
        size, fit: as for `images.decode_poster`.
        workers: threads, at least 1; None takes every core this process may use; or a cluster's client.
    """
    from poster_ml.cluster import KILLED, map_in_order

    task = partial(_prepare_batch, folder=Path.cwd(), size=size, fit=fit)
    where = _available_cores() if workers is None else workers
    for _, results in map_in_order(where, task, paths, batch=1 if isinstance(where, int) else _BATCH):
        yield from [f"broken image: {KILLED}"] if results is None else results


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


def _prepare_batch(paths: list[Path], folder: Path, size: int, fit: str) -> list[Result]:
    return [prepare_poster(folder / path, size, fit) for path in paths]


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
