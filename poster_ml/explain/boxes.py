"""Boxes on posters: what can be measured on them, and boxes found once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.explain.pointing import Box, box_mask
from poster_ml.progress import progress

Detector = Callable[[np.ndarray], list[Box]]
FEWEST_FOR_REGULARITY = 2


def box_features(boxes: Sequence[Box], height: int, width: int) -> dict[str, float]:
    """Measures the boxes of one kind on one poster.

    Args:
        boxes: (left, top, right, bottom) in pixels, right and bottom exclusive; may be none.
        height, width: of the poster.

    Returns: `count`; `share` of the poster that they cover together and `largest_share` of the largest one,
        in [0, 1]; `size_regularity` in (0, 1], 1 / (1 + the coefficient of variation of the heights): 1 where
        all are of one size; NaN for fewer than two boxes.
    """
    heights = np.array([bottom - top for _, top, _, bottom in boxes])
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    regular = float("nan")
    if len(boxes) >= FEWEST_FOR_REGULARITY:
        regular = float(1.0 / (1.0 + heights.std() / heights.mean()))
    return {
        "count": float(len(boxes)),
        "share": float(box_mask(boxes, height, width).mean()) if len(boxes) else 0.0,
        "largest_share": float(max(areas, default=0.0) / (height * width)),
        "size_regularity": regular,
    }


def find_cached(
    make_detector: Callable[[], Detector], images: Any, rows: Sequence[int], file: Path, description: str
) -> list[list[Box]]:
    """Finds boxes on posters, reading those found before from a file and adding the others to it.

    Args:
        make_detector: makes the detector; called only when a poster is new.
        images: (N, H, W, 3) uint8, an array or a memory map; only new rows are read.
        rows: which posters, in the order of the result.
        file: JSON lines of row and boxes; one poster is written as soon as it is done, so what is killed goes
            on where it was. It belongs to one dataset and one detector: the caller sees to that.
        description: for the progress bar.

    Returns: for each row its boxes.
    """
    known = _read(file)
    new = [int(row) for row in rows if int(row) not in known]
    if new:
        file.parent.mkdir(parents=True, exist_ok=True)
        detect = make_detector()
        with file.open("a", encoding="utf-8") as handle:
            for row in progress(new, description):
                # To a tenth of a pixel, in the file and here: what comes back later is the same.
                known[row] = [_rounded(box) for box in detect(np.asarray(images[row]))]
                # The line break comes first: a line that a kill left unfinished spoils only itself.
                handle.write("\n" + json.dumps({"row": row, "boxes": known[row]}))
                handle.flush()
    return [known[int(row)] for row in rows]


def _rounded(box: Box) -> Box:
    left, top, right, bottom = box
    return round(left, 1), round(top, 1), round(right, 1), round(bottom, 1)


def _read(file: Path) -> dict[int, list[Box]]:
    known: dict[int, list[Box]] = {}
    if not file.is_file():
        return known
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            boxes = [(float(a), float(b), float(c), float(d)) for a, b, c, d in entry["boxes"]]
            known[int(entry["row"])] = boxes
        except (ValueError, KeyError, TypeError):
            continue  # empty, or cut short
    return known
