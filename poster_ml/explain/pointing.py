"""The pointing game: does the highest place of a map lie in what is known to be the cause?

Source: Zhang et al. 2016 (arXiv:1608.00507), section 4.2, without the tolerance around the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from poster_ml.evaluation.stats import mean_interval, wilson_interval
from poster_ml.explain.controls import centre_maps

Box = tuple[float, float, float, float]


def pointing_game(
    maps: np.ndarray, boxes: Sequence[Sequence[Box]], *, confidence: float = 0.95
) -> dict[str, Any]:
    """Counts how often a map's highest place lies in one of its poster's boxes.

    Args:
        maps: (N, H, W), higher is more important. A map of zeros points nowhere: a miss.
        boxes: for each map its boxes (left, top, right, bottom) in pixels of the map, right and bottom
            exclusive. Posters without a box do not count.
        confidence: of the intervals, between 0 and 1.

    Returns: a dict for JSON: `hit_rate`, with `centre_hit_rate`, the same for a map that always points at the
        middle, `area_share`, the share of the poster that the boxes cover (what a random place would hit),
        and `advantage_over_centre`, paired; each with mean and interval; `posters` that counted.
    Raises: ValueError where lengths differ, a box is empty, or no poster has one.
    """
    if len(maps) != len(boxes):
        raise ValueError(f"one list of boxes per map is needed, got {len(maps)=}, {len(boxes)=}")
    height, width = maps.shape[1:3]
    rows = [row for row in range(len(maps)) if len(boxes[row]) > 0]
    if not rows:
        raise ValueError(f"no poster has a box, so nothing can be hit, got {len(boxes)=}")
    centre = centre_maps(np.zeros((1, height, width, 3), np.uint8))[0]
    hits, centre_hits, areas = [], [], []
    for row in rows:
        mask = box_mask(boxes[row], height, width)
        hits.append(_hit(maps[row], mask))
        centre_hits.append(_hit(centre, mask))
        areas.append(float(mask.mean()))
    ours, theirs, count = np.array(hits), np.array(centre_hits), len(rows)
    return {
        "posters": count,
        "hit_rate": wilson_interval(float(ours.sum()), count, confidence).record(count),
        "centre_hit_rate": wilson_interval(float(theirs.sum()), count, confidence).record(count),
        "area_share": mean_interval(areas, confidence, bounds=(0.0, 1.0))[0].record(count),
        "advantage_over_centre": mean_interval(ours - theirs, confidence)[0].record(count),
    }


def box_mask(boxes: Sequence[Box], height: int, width: int) -> np.ndarray:
    """Draws boxes (left, top, right, bottom) in pixels into a (height, width) bool mask; cut at the border.

    Raises: ValueError naming a box whose right or bottom does not lie beyond its left or top.
    """
    mask = np.zeros((height, width), bool)
    for box in boxes:
        left, top, right, bottom = box
        if right <= left or bottom <= top:
            raise ValueError(
                f"a box is (left, top, right, bottom) with right > left and bottom > top, got {box=}"
            )
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
