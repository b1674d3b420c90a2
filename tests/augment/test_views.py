"""Fixed views: the poster as it is first, then the same moves for every poster, every time."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from poster_ml.augment.views import FixedViews, draw_view_maps

POSTERS = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3)).astype("uint8")


def seen(views: FixedViews, view: int) -> np.ndarray:
    return ops.convert_to_numpy(views(POSTERS, view=view))


def test_the_first_view_is_the_poster_and_a_shift_moves_it() -> None:
    one_right = [1, 0, -1, 0, 1, 0]  # the output's x shows the input's x - 1
    views = FixedViews([[1, 0, 0, 0, 1, 0], one_right])
    np.testing.assert_array_equal(seen(views, 0), POSTERS)
    moved = seen(views, 1)
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved[:, :, 1:], POSTERS[:, :, :-1])
    np.testing.assert_array_equal(moved[:, :, 0], POSTERS[:, :, 0])  # the edge repeated


def test_values_between_two_pixels_are_rounded_not_cut() -> None:
    posters = np.zeros((1, 1, 2, 3), "uint8")
    posters[0, 0, 1] = 255
    half = FixedViews([[1, 0, 0.704, 0, 1, 0]])(posters)
    assert ops.convert_to_numpy(half)[0, 0, 0, 0] == 180  # .704 x 255 = 179.52


def test_maps_are_drawn_within_the_ranges_and_by_the_seed() -> None:
    maps = draw_view_maps(200, 100, 3, zoom=0.1)
    np.testing.assert_array_equal(maps[0], [1, 0, 0, 0, 1, 0])
    assert maps.shape == (200, 6)
    scales = maps[1:, [0, 4]]
    assert 0.9 <= scales.min() < 0.92
    assert 1.08 < scales.max() <= 1.1
    np.testing.assert_array_equal(maps[:, [1, 3]], 0)
    np.testing.assert_array_equal(maps, draw_view_maps(200, 100, 3, zoom=0.1))
    assert not np.array_equal(maps, draw_view_maps(200, 100, 4, zoom=0.1))
    half = draw_view_maps(200, 100, 3, zoom=0.1, strength=0.5)
    np.testing.assert_allclose(half[1:, 0] - 1, (maps[1:, 0] - 1) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"maps": []}, r"maps must be one or more of six numbers; received an array \(0,\)"),
        ({"maps": [[1, 0, 0]]}, r"maps must be one or more of six numbers; received an array \(1, 3\)"),
        ({"maps": [[1, 0, 0, 0, 1, 0]], "fill": "wrap"}, "fill must be one of nearest, reflect, constant"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FixedViews(**arguments)


def test_a_flip_alone_knows_two_views() -> None:
    maps = draw_view_maps(64, 10, 1, horizontal_flip=True)
    np.testing.assert_array_equal(maps, [[1, 0, 0, 0, 1, 0], [-1, 0, 9, 0, 1, 0]])


def test_views_that_would_all_be_one_are_refused() -> None:
    with pytest.raises(ValueError, match="all ranges are 0: every view would be the poster as it is"):
        draw_view_maps(3, 10, 1, zoom=0.2, strength=0.0)
    with pytest.raises(ValueError, match="count must be at least 2; received count=1"):
        draw_view_maps(1, 10, 1, zoom=0.2)
