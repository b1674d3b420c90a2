"""The pointing game: does the highest place of a map lie in what is known to be the cause?

Source: Zhang et al. 2016 (arXiv:1608.00507), section 4.2, without the tolerance around the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from poster_ml.evaluation.stats import mean_interval, wilson_interval
from poster_ml.explain.maps import normalise

Box = Sequence[float]  # left, top, right, bottom in pixels, right and bottom exclusive


def pointing_game(
    maps: np.ndarray, boxes: Sequence[Sequence[Box]], *, confidence: float = 0.95
) -> dict[str, Any]:
    """Counts how often a map's highest place lies in one of its poster's boxes.

    Args:
        maps: (N, H, W), higher is more important. A map of zeros points nowhere: a miss.
        boxes: for each map its boxes (left, top, right, bottom) in pixels of the map, right and
            bottom exclusive. Posters without a box do not count.
        confidence: of the intervals, between 0 and 1.

    Returns: a dict for JSON: `hit_rate`, with `centre_hit_rate`, the same for a map that always points at the
        middle, `area_share`, the share of the poster that the boxes cover (what a random place would hit),
        and `advantage_over_centre`, paired; each with mean and interval; `posters` that counted.
    Raises: ValueError where lengths differ or no poster has a box.
    """
    height, width = maps.shape[1:3]
    centre = centre_map(height, width)
    masks = [
        (one, box_mask(found, height, width)) for one, found in zip(maps, boxes, strict=True) if len(found)
    ]
    ours = np.array([_hit(one, mask) for one, mask in masks])
    theirs = np.array([_hit(centre, mask) for _, mask in masks])
    areas, count = [float(mask.mean()) for _, mask in masks], len(masks)
    return {
        "posters": count,
        "hit_rate": wilson_interval(float(ours.sum()), count, confidence).record(count),
        "centre_hit_rate": wilson_interval(float(theirs.sum()), count, confidence).record(count),
        "area_share": mean_interval(areas, confidence, bounds=(0.0, 1.0))[0].record(count),
        "advantage_over_centre": mean_interval(ours - theirs, confidence)[0].record(count),
    }


def centre_map(height: int, width: int) -> np.ndarray:
    """Returns a Gaussian on the middle, a quarter of the side wide: (height, width) float32 in [0, 1]."""
    down = (np.arange(height) + 0.5) / height - 0.5
    across = (np.arange(width) + 0.5) / width - 0.5
    return normalise(np.exp(-(down[None, :, None] ** 2 + across**2) / (2 * 0.25**2)))[0]


def box_mask(boxes: Sequence[Box], height: int, width: int) -> np.ndarray:
    """Draws boxes (left, top, right, bottom) in pixels: (height, width) bool, cut at the border."""
    mask = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes:
        rows = slice(max(0, int(np.floor(top))), max(0, int(np.ceil(bottom))))
        columns = slice(max(0, int(np.floor(left))), max(0, int(np.ceil(right))))
        mask[rows, columns] = True
    return mask


def _hit(saliency: np.ndarray, mask: np.ndarray) -> float:
    """1 or 0; where several places share the highest value, the share of them that lies inside."""
    highest = saliency.max()
    if highest <= 0:
        return 0.0
    return float(mask[saliency == highest].mean())
