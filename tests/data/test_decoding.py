"""Many posters on many threads: in order, the same on any number of them, few at a time."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poster_ml.data import decoding
from poster_ml.data.decoding import PreparedPoster, prepare_poster, prepare_posters


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """40 posters of different colours; number 20 is missing, number 30 is not an image."""
    folder = tmp_path_factory.mktemp("posters")
    paths = [folder / f"{number}.png" for number in range(40)]
    random = np.random.default_rng(0)
    for path in paths:
        Image.fromarray(random.integers(0, 256, (6, 4, 3), np.uint8)).resize((60, 90)).save(path)
    paths[20].unlink()
    paths[30].write_bytes(b"no image")
    return paths


def test_threads_give_what_one_gives_in_order(files):
    alone = [prepare_poster(path, 16, "pad") for path in files]
    for workers in (1, 3, None):
        for one, other in zip(prepare_posters(files, 16, "pad", workers), alone, strict=True):
            if isinstance(one, str) or isinstance(other, str):
                assert one == other
            else:
                assert one.facts == other.facts
                assert (one.pixels == other.pixels).all()
    assert alone[20] == "missing file: 20.png"
    assert str(alone[30]).startswith("not an image: ")
    assert list(prepare_posters([], 16, "squash")) == []


def test_one_poster_has_its_facts(files):
    poster = prepare_poster(files[0], 16, "squash")
    assert isinstance(poster, PreparedPoster)
    assert poster.facts == poster.facts | {
        "width": 60, "height": 90, "format": "PNG", "file_bytes": files[0].stat().st_size,
        "sha256": hashlib.sha256(files[0].read_bytes()).hexdigest(),
    }  # fmt: skip
    assert (poster.pixels.shape, poster.colour_print.shape) == ((16, 16, 3), (768,))


def test_few_are_decoded_ahead_and_none_after_the_end(files, monkeypatch):
    begun: list[Path] = []
    monkeypatch.setattr(decoding, "prepare_poster", lambda path, size, fit: begun.append(path) or "no")
    before = set(threading.enumerate())
    results = prepare_posters(files * 5, 16, "squash", workers=2)
    for wanted in range(1, 101):
        next(results)
        assert len(begun) < wanted + 8
    results.close()
    assert len(begun) < 108
    assert not set(threading.enumerate()) - before


def test_a_poster_too_large_for_the_memory_costs_only_itself(files, monkeypatch):
    def decode(data: bytes, size: int, fit: str) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "decode_poster", decode)
    assert prepare_poster(files[0], 16, "squash") == "broken image: memory ran out while decoding it"
