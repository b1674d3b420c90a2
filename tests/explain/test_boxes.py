from __future__ import annotations

import math

import numpy as np
import pytest

from poster_ml.explain.boxes import box_features, find_cached

IMAGES = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 10, 20, 3), np.uint8)


def test_features_of_boxes() -> None:
    # Two overlapping boxes on 10 x 20: 5 x 10 and 5 x 10, half of each shared.
    found = box_features([(0.0, 0.0, 10.0, 5.0), (5.0, 0.0, 15.0, 5.0)], 10, 20)
    assert found == {"count": 2, "share": 75 / 200, "largest_share": 50 / 200, "size_regularity": 1}
    uneven = box_features([(0.0, 0.0, 2.0, 2.0), (4.0, 0.0, 8.0, 6.0)], 10, 20)
    assert uneven["size_regularity"] == pytest.approx(1 / (1 + 0.5))


def test_no_box_is_nothing_and_one_box_has_no_regularity() -> None:
    none = box_features([], 10, 20)
    assert (none["count"], none["share"], none["largest_share"]) == (0, 0, 0)
    assert math.isnan(none["size_regularity"])
    assert math.isnan(box_features([(0.0, 0.0, 2.0, 2.0)], 10, 20)["size_regularity"])


def test_a_search_goes_on_where_it_was_killed(tmp_path) -> None:
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
    assert found == [[(0.0, 0.0, 1.0, 2.0)], [], [(0.0, 0.0, 1.0, 4.0)], []]
    assert seen == [1, 0, 3, 4]


def test_nothing_new_makes_no_detector(tmp_path) -> None:
    file = tmp_path / "text.jsonl"
    find_cached(lambda: lambda image: [], IMAGES, [2], file, "finding")

    def explode():
        raise AssertionError("made")

    assert find_cached(explode, IMAGES, [2, 2], file, "finding") == [[], []]
