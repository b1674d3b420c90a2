from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from poster_ml.errors import PosterMLError
from poster_ml.explain.detectors import find_faces, find_text

IMAGES = np.zeros((2, 40, 30, 3), np.uint8)
IMAGES[0, ..., 0] = 200  # the first poster is red


class FakeReader:
    """Finds a slanted line on red posters only, told apart by their BGR order; one box sticks out."""

    def __init__(self, params: dict[str, str]) -> None:
        pass

    def __call__(self, image: np.ndarray, **options: bool) -> SimpleNamespace:
        if image[0, 0, 2] == 0:
            return SimpleNamespace(boxes=None)
        line = np.array([[3, 4], [20, 6], [19, 12], [2, 10]])
        outside = np.array([[25, -5], [60, -5], [60, 8], [25, 8]])
        return SimpleNamespace(boxes=np.stack([line, outside, outside + 100]))


class FakeFaces:
    def __init__(self, device: str) -> None:
        pass

    def detect_faces(self, image: np.ndarray) -> list[dict[str, object]]:
        if image[0, 0, 0] == 0:
            return []
        return [{"box": [-2, 5, 10, 12], "confidence": 0.99}, {"box": [1, 1, 9, 9], "confidence": 0.5}]


def test_text_boxes_are_upright_and_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", SimpleNamespace(RapidOCR=FakeReader))
    assert find_text(IMAGES) == [[(2, 4, 20, 12), (25, 0, 30, 8)], []]


def test_sure_faces_become_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mtcnn", SimpleNamespace(MTCNN=FakeFaces))
    assert find_faces(IMAGES) == [[(0, 5, 8, 17)], []]


@pytest.mark.parametrize(("find", "package"), [(find_text, "rapidocr"), (find_faces, "mtcnn")])
def test_missing_extra_says_what_to_install(find, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        PosterMLError, match=rf"needs the package '{package}'.*pip install 'poster-ml\[detect\]'$"
    ):
        find(IMAGES)


def test_wrong_shape_is_echoed() -> None:
    with pytest.raises(ValueError, match=r"shape=\(40, 30, 3\)"):
        find_text(IMAGES[0])


def test_real_detectors_find_text_on_a_drawn_poster() -> None:
    pytest.importorskip("rapidocr", reason="the extra `detect` is not installed")
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (182, 268), "white")
    ImageDraw.Draw(picture).text((20, 30), "THE TITLE", fill="black", font=ImageFont.load_default(28))
    (boxes,) = find_text(np.asarray(picture)[None])
    assert any(box[1] < 45 < box[3] and box[0] < 60 < box[2] for box in boxes)
