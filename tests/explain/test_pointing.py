import numpy as np
import pytest

from poster_ml.explain.pointing import box_mask, pointing_game


def test_hits_are_counted_in_x_and_y():
    maps = np.zeros((4, 30, 20), np.float32)
    maps[0, 25, 3] = maps[1, 3, 15] = maps[2, 25, 3] = 1  # the fourth points nowhere
    box = (2.0, 20.0, 6.0, 30.0)  # left, top, right, bottom: the lower left
    result = pointing_game(maps, [[box], [box], [(10.0, 0.0, 20.0, 5.0), box], [box]])
    assert result["posters"] == 4
    assert result["hit_rate"]["mean"] == 0.5
    assert result["centre_hit_rate"]["mean"] == 0
    assert result["advantage_over_centre"]["mean"] == 0.5
    assert result["area_share"]["mean"] == pytest.approx((3 * 40 + 90) / 4 / 600)


def test_posters_without_a_box_do_not_count():
    maps = np.zeros((2, 30, 20), np.float32)
    maps[:, 15, 10] = 1
    result = pointing_game(maps, [[], [(8, 12, 12, 18)]])
    assert result["posters"] == 1
    assert result["hit_rate"]["mean"] == result["centre_hit_rate"]["mean"] == 1
    with pytest.raises(ValueError, match="count > 0"):
        pointing_game(maps, [[], []])


def test_several_highest_places_hit_in_part():
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 0] = 1
    assert pointing_game(maps, [[(0, 0, 1, 4)]])["hit_rate"]["mean"] == 0.25


def test_boxes_are_cut_at_the_border():
    boxes = [(-5, -5, 2, 1), (5, 3, 99, 99), (-9, 0, -2, 2)]
    assert [box_mask([box], 4, 6).sum() for box in boxes] == [2, 1, 0]
