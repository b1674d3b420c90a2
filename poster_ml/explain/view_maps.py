"""Maps of a poster's views, laid back onto the poster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from poster_ml.augment.resample import resample


def mean_over_views(
    views: Any, images: np.ndarray, contributions: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Draws the map of each view and averages them where they belong on the poster.

    A view shows the input at M q where its own pixel is q, so what it says at q belongs to p = M q: the map
    is looked up at the inverse of p, times the change of area, which keeps its sum. What a view shows beyond
    the poster's edge belongs to no place and is left out: places near the edge, which fewer views show, count
    less in the map, as they do in the mean logit.

    Args:
        views: an `augment.views.FixedViews`.
        images: (B, H, W, 3) uint8.
        contributions: maps (B, H, W) float32 of such images.

    Returns: (B, H, W) float32.
    """
    total = np.zeros(images.shape[:3], np.float32)
    for number, one in enumerate(views.maps):
        seen = np.asarray(ops.convert_to_numpy(views(images, view=number)))
        back, area = inverse_map(one)
        maps = np.repeat(back[None], len(images), axis=0)
        placed = resample(contributions(seen)[..., None], ops.convert_to_tensor(maps), "constant")
        total += np.asarray(ops.convert_to_numpy(placed))[..., 0] * area
    return total / len(views.maps)


def inverse_map(one: np.ndarray) -> tuple[np.ndarray, float]:
    """Inverts an affine map of six numbers (`augment.affine.affine_maps`).

    Returns: the inverse as (6,) float32, and the factor by which it changes areas.
    Raises: ValueError for a map that flattens the picture.
    """
    a, b, c, d, e, f = (float(value) for value in one)
    determinant = a * e - b * d
    if abs(determinant) < 1e-6:
        raise ValueError(f"the map {list(one)} flattens the picture and has no inverse")
    linear = np.array([[e, -b], [-d, a]]) / determinant
    offset = -linear @ np.array([c, f])
    inverse = np.array([*linear[0], offset[0], *linear[1], offset[1]], np.float32)
    return inverse, 1.0 / abs(determinant)
