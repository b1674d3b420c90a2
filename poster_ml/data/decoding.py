"""Many posters decoded on all cores, in order, with a bounded number in memory.

A worker imports this module, so it and what it imports need Pillow and NumPy only (a third of a second).
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from poster_ml.data.duplicates import colour_print, perceptual_hash
from poster_ml.data.images import Pixels, fit_image, read_bytes, read_upright
from poster_ml.errors import RequestError

CHUNK = 16  # posters per task: 2.4 MB of pixels at 224 on their way through a pipe
_WORTH_A_POOL = 64  # below that, starting processes takes longer than decoding


@dataclass(frozen=True)
class PreparedPoster:
    """What is kept of one poster.

    Attributes:
        pixels: (size, size, 3) uint8 RGB.
        width, height, format: of the source, upright.
        file_bytes, sha256: of the file.
        perceptual_hash: 64 bits, hexadecimal. colour_print: (768,) uint8.
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    file_bytes: int
    sha256: str
    perceptual_hash: str
    colour_print: Pixels


Result = PreparedPoster | str  # or the reason why not


def prepare_poster(path: Path, size: int, fit: str) -> Result:
    """Decodes and fingerprints one file; returns the reason where it cannot be used."""
    try:
        data = read_bytes(path)
        poster = read_upright(data, size)
    except RequestError as error:
        return str(error)
    except MemoryError:
        return "broken image: memory ran out while decoding it"
    return PreparedPoster(
        pixels=fit_image(poster.image, size, fit),
        width=poster.width,
        height=poster.height,
        format=poster.format,
        file_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        perceptual_hash=f"{perceptual_hash(poster.thumbnail):016x}",
        colour_print=colour_print(poster.thumbnail),
    )


def prepare_posters(
    paths: Sequence[Path], size: int, fit: str, workers: int | None = None
) -> Iterator[Result]:
    """Decodes files on all cores and yields the results in the order of `paths`.

    At most a few chunks per worker are in flight, so memory does not grow with the number of posters. A file
    on which the decoder dies costs its own poster only.

    Args:
        paths: files; one that is missing yields its reason.
        size, fit: as for `images.decode_poster`.
        workers: processes; 1 decodes in this one; None takes every core this process may use.

    Raises: ValueError for workers below 1; RuntimeError where no process can be started.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers=}")
    cores = workers if workers is not None else available_cores()
    if cores == 1 or len(paths) < _WORTH_A_POOL:
        yield from (prepare_poster(path, size, fit) for path in paths)
        return
    yield from _in_pools(paths, size, fit, min(cores, -(-len(paths) // CHUNK)))


def available_cores() -> int:
    """Returns how many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _in_pools(paths: Sequence[Path], size: int, fit: str, workers: int) -> Iterator[Result]:
    """Decodes in one pool after another: where a worker died, its chunk is done file by file."""
    done = 0
    while done < len(paths):
        try:
            for results in _chunks_in_pool(paths[done:], size, fit, workers):
                done += len(results)
                yield from results
        except BrokenProcessPool:
            yield from (_prepare_alone(path, size, fit) for path in paths[done : done + CHUNK])
            done += CHUNK


def _chunks_in_pool(paths: Sequence[Path], size: int, fit: str, workers: int) -> Iterator[list[Result]]:
    pending: deque[Future[list[Result]]] = deque()
    pool = _start_pool(workers)
    try:
        for start in range(0, len(paths), CHUNK):
            pending.append(pool.submit(_prepare_chunk, paths[start : start + CHUNK], size, fit))
            if len(pending) == 3 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_chunk(paths: Sequence[Path], size: int, fit: str) -> list[Result]:
    return [prepare_poster(path, size, fit) for path in paths]


def _prepare_alone(path: Path, size: int, fit: str) -> Result:
    """Decodes one file of a chunk that killed its worker, in a process that it may kill too."""
    with _start_pool(1) as pool:
        try:
            return pool.submit(prepare_poster, path, size, fit).result()
        except BrokenProcessPool:
            return "broken image: the decoder died on it"


def _start_pool(workers: int) -> ProcessPoolExecutor:
    # spawn: a fork of a process with threads (TensorFlow, MLflow) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_enter_worker)
    try:
        pool.submit(int).result()
    except BrokenProcessPool:
        pool.shutdown(wait=True, cancel_futures=True)
        raise RuntimeError(
            "worker processes cannot be started; a script that prepares posters needs "
            "`if __name__ == '__main__':` around its work, or workers=1"
        ) from None
    return pool


def _enter_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends with it: a killed parent must not leave workers behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
