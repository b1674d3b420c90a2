import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from poster_ml.errors import PosterMLError
from poster_ml.explain.boxes import box_features, face_detector, find_cached, text_detector

IMAGES = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 10, 20, 3), np.uint8)


def test_features_of_boxes():
    # Two overlapping boxes on 10 x 20: 5 x 10 and 5 x 10, half of each shared.
    found = box_features([(0.0, 0.0, 10.0, 5.0), (5.0, 0.0, 15.0, 5.0)], 10, 20)
    assert found == {"count": 2, "share": 75 / 200, "largest_share": 50 / 200, "size_regularity": 1}
    uneven = box_features([(0.0, 0.0, 2.0, 2.0), (4.0, 0.0, 8.0, 6.0)], 10, 20)
    assert uneven["size_regularity"] == pytest.approx(1 / (1 + 0.5))
    none, one = box_features([], 10, 20), box_features([(0.0, 0.0, 2.0, 2.0)], 10, 20)
    assert [*none.values()] == pytest.approx([0, 0, 0, math.nan], nan_ok=True)
    assert math.isnan(one["size_regularity"])


def test_a_search_goes_on_where_it_was_killed(tmp_path):
    file = tmp_path / "boxes" / "text.jsonl"
    seen: list[int] = []

    def make(stop: int):
        def detect(image: np.ndarray) -> list[tuple[float, float, float, float]]:
            number = int(image[0, 0, 0])
            if number == stop:
                raise KeyboardInterrupt
            seen.append(number)
            return [(0.0, 0.0, 1.04, float(number + 1))] * (number % 2)

        return detect

    with pytest.raises(KeyboardInterrupt):
        find_cached(lambda: make(3), IMAGES, [1, 0, 3, 4], file, "finding")
    with file.open("a") as handle:
        handle.write('\n{"row": 3, "box')  # what a kill in the middle of a line leaves
    found = find_cached(lambda: make(-1), IMAGES, [1, 0, 3, 4], file, "finding")
    assert found == [[[0.0, 0.0, 1.0, 2.0]], [], [[0.0, 0.0, 1.0, 4.0]], []]
    assert seen == [1, 0, 3, 4]
    again = find_cached(lambda: 1 / 0, IMAGES, [3, 3], file, "finding")  # nothing new: no detector is made
    assert again == [found[2], found[2]]


POSTERS = np.zeros((2, 40, 30, 3), np.uint8)
POSTERS[0, ..., 0] = 200  # the first poster is red


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


@pytest.mark.parametrize(
    ("package", "fake", "make", "boxes"),
    [
        ("rapidocr", SimpleNamespace(RapidOCR=FakeReader), text_detector, [[2, 4, 20, 12], [25, 0, 30, 8]]),
        ("mtcnn", SimpleNamespace(MTCNN=FakeFaces), face_detector, [[0, 5, 8, 17]]),
    ],
)
def test_boxes_of_a_detector_are_sure_upright_and_inside(monkeypatch, package, fake, make, boxes):
    monkeypatch.setitem(sys.modules, package, fake)
    assert [make()(image) for image in POSTERS] == [boxes, []]


@pytest.mark.parametrize(("make", "package"), [(text_detector, "rapidocr"), (face_detector, "mtcnn")])
def test_missing_extra_says_what_to_install(make, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    said = rf"needs the package '{package}'.*pip install 'poster-ml\[detect\]'$"
    with pytest.raises(PosterMLError, match=said):
        make()


def test_real_detectors_find_text_on_a_drawn_poster():
    pytest.importorskip("rapidocr", reason="the extra `detect` is not installed")
    picture = Image.new("RGB", (182, 268), "white")
    ImageDraw.Draw(picture).text((20, 30), "THE TITLE", fill="black", font=ImageFont.load_default(28))
    boxes = text_detector()(np.asarray(picture))
    assert any(box[1] < 45 < box[3] and box[0] < 60 < box[2] for box in boxes)
