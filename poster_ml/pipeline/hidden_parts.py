"""Named parts of poster files, hidden: what `poster-ml explain --what-if` measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.errors import ExplanationError
from poster_ml.explain.boxes import Detector
from poster_ml.explain.what_if import ShareBox, what_if
from poster_ml.pipeline.poster_boxes import DETECTORS

# In shares of the poster: left, top, right, bottom.
FIXED: dict[str, list[ShareBox]] = {
    "border": [(0.0, 0.0, 1.0, 0.1), (0.0, 0.9, 1.0, 1.0), (0.0, 0.0, 0.1, 1.0), (0.9, 0.0, 1.0, 1.0)],
    "centre": [(0.3, 0.3, 0.7, 0.7)],
}
MOST = 5  # boxes of text and of faces per poster, the largest ones: each takes 17 runs of the network

Finder = Callable[[np.ndarray], list[ShareBox]]


@lru_cache(maxsize=1)  # detectors are networks: loaded once per process, also on a worker
def part_finders(names: tuple[str, ...]) -> dict[str, Finder]:
    """Returns for each name a function from a poster (H, W, 3) uint8 to its boxes, in shares.

    Args:
        names: of "text", "faces", "border", "centre".

    Raises: ExplanationError for other names, and for text and faces where the extra `detect` is missing.
    """
    allowed = [*DETECTORS, *FIXED]
    if unknown := [name for name in names if name not in allowed]:
        raise ExplanationError(f"--what-if takes {', '.join(allowed)}; received {unknown[0]!r}")
    return {name: _finder(name) for name in names}


def hide_parts(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    names: Sequence[str],
    finders: Mapping[str, Finder],
) -> pd.DataFrame:
    """Measures what hiding each part of each poster changes.

    Args:
        predict: (N, H, W, 3) uint8 to (N,) probabilities of Fresh.
        images: (B, H, W, 3) uint8.
        names: of the B posters.
        finders: as from `part_finders`.

    Returns: one row per box, `poster, part, left, top, right, bottom, change, elsewhere_mean,
        elsewhere_spread, elsewhere`, see `explain.what_if.WhatIf`.
    """
    rows: list[dict[str, Any]] = []
    for image, poster in zip(images, names, strict=True):
        for part, find in finders.items():
            for found in what_if(predict, image, find(image)):
                values = asdict(found)
                sides = dict(zip(("left", "top", "right", "bottom"), values.pop("box"), strict=True))
                rows.append({"poster": poster, "part": part, **sides, **values})
    columns = ["poster", "part", "left", "top", "right", "bottom"]
    return pd.DataFrame(rows, columns=[*columns, "change", "elsewhere_mean", "elsewhere_spread", "elsewhere"])


def sentence(row: Mapping[str, Any]) -> str:
    """Says one row of `hide_parts` in a line."""
    place = " ".join(f"{row[side]:.2f}" for side in ("left", "top", "right", "bottom"))
    said = f"{row['poster']}: {row['part']} ({place}) hidden: P(Fresh) {row['change']:+.3f}"
    if pd.isna(row["elsewhere_mean"]):
        return f"{said}; it leaves no room for boxes elsewhere"
    return f"{said}; elsewhere {row['elsewhere_mean']:+.3f}, spread {row['elsewhere_spread']:.3f}"


def _finder(name: str) -> Finder:
    if name in FIXED:
        return lambda image: FIXED[name]
    detect: Detector = DETECTORS[name]()

    def find(image: np.ndarray) -> list[ShareBox]:
        height, width = image.shape[:2]
        boxes = sorted(detect(image), key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))[:MOST]
        return [(box[0] / width, box[1] / height, box[2] / width, box[3] / height) for box in boxes]

    return find
