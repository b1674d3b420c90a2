"""What hiding a box changes: a model that looks at one corner knows the answer."""

import numpy as np
import pytest

from poster_ml.explain.what_if import ELSEWHERE, check_box, what_if


def poster() -> np.ndarray:
    """Grey, with a white square in the upper left corner."""
    image = np.full((60, 40, 3), 100, np.uint8)
    image[0:15, 0:10] = 255
    return image


def corner(images: np.ndarray) -> np.ndarray:
    """The brightness of the upper left corner, which is all that this model looks at."""
    return images[:, 0:15, 0:10].mean(axis=(1, 2, 3)) / 255.0


def test_hiding_what_the_model_looks_at_changes_more_than_hiding_as_much_elsewhere():
    (found,) = what_if(corner, poster(), [(0.0, 0.0, 0.25, 0.25)])
    assert found.change == pytest.approx(100 / 255 - 1, abs=0.05)  # filled with the grey around it
    assert found.elsewhere == ELSEWHERE
    assert abs(found.elsewhere_mean) < 0.2
    assert found.change < found.elsewhere_mean - 3 * found.elsewhere_spread


def test_boxes_are_answered_in_their_order_and_the_same_each_time():
    boxes = [(0.5, 0.5, 1.0, 1.0), (0.0, 0.0, 0.25, 0.25)]
    found = what_if(corner, poster(), boxes, seed=5)
    assert [one.box for one in found] == boxes
    assert found == what_if(corner, poster(), boxes, seed=5)


def test_a_box_that_leaves_no_room_has_nothing_to_stand_beside():
    (found,) = what_if(corner, poster(), [(0.0, 0.0, 1.0, 0.9)])
    assert (found.elsewhere, found.elsewhere_mean, found.elsewhere_spread) == (0, None, None)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 0, 1), (0.5, 0, 0.4, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1), (0, 0, 1), (float("nan"), 0, 1, 1)],
)
def test_a_box_that_is_none_is_refused_with_what_is_allowed(box):
    with pytest.raises(ValueError, match="from 0 to 1, left < right and top < bottom; got"):
        check_box(box)
