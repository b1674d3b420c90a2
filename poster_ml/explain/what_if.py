"""What if this part of the poster were not there? Boxes filled from around them, beside boxes elsewhere.

Hiding anything changes a probability a little. So the change that a box makes stands beside the
changes that boxes of the same size make at other places of the same poster: a change well outside
of theirs is a finding, one among them is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from poster_ml.explain.removal import impute
from poster_ml.seeding import derive_seed, generator

ELSEWHERE = 16  # boxes of the same size that a box is compared with
FEWEST = 4  # of them, below which a spread says nothing
MOST_OVERLAP = 0.25  # of a box's area that one elsewhere may share with it
_ATTEMPTS = 400

ShareBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class WhatIf:
    """What one box does to the probability of Fresh.

    box: (left, top, right, bottom), shares of the poster's width and height.
    change: of the probability with the box filled, less that of the poster as it is.
    elsewhere_mean, elsewhere_spread: mean and standard deviation of the change over `elsewhere`
        boxes of the same size; None where the box leaves no room for four of them.
    """

    box: ShareBox
    change: float
    elsewhere_mean: float | None
    elsewhere_spread: float | None
    elsewhere: int


def check_box(box: Sequence[float]) -> ShareBox:
    """Returns a box of four shares.

    Raises: ValueError in one line unless 0 <= left < right <= 1 and 0 <= top < bottom <= 1.
    """
    if len(box) == 4 and 0.0 <= box[0] < box[2] <= 1.0 and 0.0 <= box[1] < box[3] <= 1.0:
        return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    raise ValueError(
        f"a box is left, top, right, bottom as shares of the poster, from 0 to 1, left < right and "
        f"top < bottom; got {list(box)}"
    )


def what_if(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    seed: int = 0,
) -> list[WhatIf]:
    """Measures what hiding boxes of one poster changes.

    Args:
        predict: (N, H, W, 3) uint8 to (N,) probabilities of Fresh.
        image: (H, W, 3) uint8.
        boxes: each (left, top, right, bottom) in shares, see `check_box`.
        seed: of the places elsewhere and of the noise of the filling.

    Raises: ValueError as `check_box`.
    """
    checked = [check_box(box) for box in boxes]
    places = [[box, *_elsewhere(box, seed)] for box in checked]
    usual = float(predict(image[None])[0])
    found = []
    for box, tried in zip(checked, places, strict=True):
        filled = np.stack([_filled(image, place, seed) for place in tried])  # (1 + elsewhere, H, W, 3)
        change, *others = (np.asarray(predict(filled), np.float64) - usual).tolist()
        told = len(others) >= FEWEST
        mean, spread = (float(np.mean(others)), float(np.std(others, ddof=1))) if told else (None, None)
        found.append(WhatIf(box, change, mean, spread, len(others)))
    return found


def _elsewhere(box: ShareBox, seed: int) -> list[ShareBox]:
    """Returns up to 16 boxes of the same size at other places of the poster."""
    left, top, right, bottom = box
    across, down = right - left, bottom - top
    draw = generator(seed, "what if", *(f"{side:.4f}" for side in box))
    found: list[ShareBox] = []
    for x, y in draw.uniform((0.0, 0.0), (1.0 - across, 1.0 - down), (_ATTEMPTS, 2)).tolist():
        shared = max(0.0, across - abs(x - left)) * max(0.0, down - abs(y - top))
        if shared <= MOST_OVERLAP * across * down:
            found.append((x, y, x + across, y + down))
        if len(found) == ELSEWHERE:
            break
    return found


def _filled(image: np.ndarray, box: ShareBox, seed: int) -> np.ndarray:
    height, width = image.shape[:2]
    left, right = round(box[0] * width), round(box[2] * width)
    top, bottom = round(box[1] * height), round(box[3] * height)
    mask = np.zeros((height, width), dtype=bool)
    mask[top : max(top + 1, bottom), left : max(left + 1, right)] = True
    return impute(image, mask, derive_seed(seed, "filling"))
