from __future__ import annotations

import numpy as np
import pytest

from poster_ml.explain.overlays import map_picture, overlay


def test_fresh_is_warm_rotten_is_cold_and_zero_is_near_white() -> None:
    picture = map_picture(np.array([[1.0, 0.0, -1.0]])).astype(int)
    assert picture.shape == (1, 3, 3)
    assert picture[0, 0, 0] > picture[0, 0, 2] + 100
    assert picture[0, 2, 2] > picture[0, 2, 0] + 80
    assert picture[0, 1].min() > 235


def test_overlay_shows_the_poster_in_grey_where_the_map_is_zero() -> None:
    image = np.zeros((3, 2, 3), np.uint8)
    image[0] = (255, 0, 0)
    image[1] = 255
    shown = overlay(image, np.zeros((3, 2), np.float32)).astype(int)
    assert (np.ptp(shown, axis=-1) == 0).all()
    assert shown[1, 0, 0] > shown[0, 0, 0] > shown[2, 0, 0]
    marked = overlay(image, np.array([[0, 0], [1, -1], [0, 0]], np.float32)).astype(int)
    assert marked[1, 0, 0] > marked[1, 0, 2] + 50
    assert marked[1, 1, 2] > marked[1, 1, 0] + 50
    np.testing.assert_array_equal(marked[[0, 2]], shown[[0, 2]])


def test_shapes_that_do_not_fit_are_echoed() -> None:
    with pytest.raises(ValueError, match=r"image.shape=\(3, 2, 3\), signed_map.shape=\(2, 3\)"):
        overlay(np.zeros((3, 2, 3), np.uint8), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"strength=1.5"):
        overlay(np.zeros((3, 2, 3), np.uint8), np.zeros((3, 2)), strength=1.5)
    with pytest.raises(ValueError, match=r"signed_map.shape=\(1, 3, 2\)"):
        map_picture(np.zeros((1, 3, 2)))
