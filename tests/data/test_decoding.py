"""The pool: order, the same results on any number of workers, and files that kill a worker."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poster_ml.data.decoding import PreparedPoster, Result, available_cores, prepare_poster, prepare_posters


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """150 posters of different colours; number 70 is missing, number 90 is no image."""
    folder = tmp_path_factory.mktemp("posters")
    paths = [folder / f"{number}.png" for number in range(150)]
    random = np.random.default_rng(0)
    for path in paths:
        Image.fromarray(random.integers(0, 256, (6, 4, 3), np.uint8)).resize((60, 90)).save(path)
    paths[70].unlink()
    paths[90].write_bytes(b"no image")
    return paths


def told(result: Result) -> object:
    if isinstance(result, str):
        return result
    return (
        result.pixels.tobytes(),
        result.width,
        result.height,
        result.format,
        result.sha256,
        result.perceptual_hash,
    )


def test_the_pool_gives_what_one_process_gives_in_order(files: list[Path]) -> None:
    alone = [told(result) for result in prepare_posters(files, 16, "pad", workers=1)]
    assert [told(result) for result in prepare_posters(files, 16, "pad", workers=2)] == alone
    assert alone[70] == "missing file: 70.png"
    assert str(alone[90]).startswith("not an image: ")
    assert alone[5] == told(prepare_poster(files[5], 16, "pad"))
    assert not multiprocessing.active_children()


def test_one_poster_has_its_facts(files: list[Path]) -> None:
    poster = prepare_poster(files[0], 16, "squash")
    assert isinstance(poster, PreparedPoster)
    assert (poster.width, poster.height, poster.format) == (60, 90, "PNG")
    assert poster.file_bytes == files[0].stat().st_size
    assert poster.pixels.shape == (16, 16, 3)
    assert poster.colour_print.shape == (768,)


class Deadly(type(pathlib.Path())):  # type: ignore[misc]
    """A path that ends the process that receives it, as a crash in a C decoder would."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os._exit, (1,))


def test_a_file_that_kills_its_worker_costs_only_itself(files: list[Path]) -> None:
    paths = [*files[:40], Deadly(files[40]), *files[41:70]]
    results = list(prepare_posters(paths, 16, "squash", workers=2))
    assert results[40] == "broken image: the decoder died on it"
    assert [told(result) for at, result in enumerate(results) if at != 40] == [
        told(prepare_poster(path, 16, "squash")) for at, path in enumerate(files[:70]) if at != 40
    ]


def test_a_worker_killed_from_outside_costs_nothing(files: list[Path]) -> None:
    results = prepare_posters(files, 16, "squash", workers=2)
    first = next(results)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    assert [told(result) for result in (first, *results)] == [
        told(prepare_poster(f, 16, "squash")) for f in files
    ]


def test_stopping_early_leaves_no_process_behind(files: list[Path]) -> None:
    results = prepare_posters(files, 16, "squash", workers=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_workers_below_one_are_a_programming_error(files: list[Path]) -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got workers=0"):
        list(prepare_posters(files, 16, "squash", workers=0))
    assert available_cores() >= 1
    assert list(prepare_posters([], 16, "squash")) == []
