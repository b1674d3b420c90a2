"""A map laid over its poster: warm for Fresh, cold for Rotten."""

from __future__ import annotations

import numpy as np

from poster_ml.explain.removal import luminance
from poster_ml.figures import diverging_colormap

STRENGTH = 0.75  # opacity of the colour where the map is +1 or -1


def overlay(image: np.ndarray, signed_map: np.ndarray) -> np.ndarray:
    """Lays a map over its poster; where the map is zero the poster shows through in grey.

    Args:
        image: (H, W, 3) uint8.
        signed_map: (H, W) in [-1, 1]; positive speaks for Fresh.

    Returns: (H, W, 3) uint8.
    """
    # Grey below: colours of the poster itself would be read as colours of the map.
    base = np.repeat((40 + 0.75 * luminance(image))[..., None], 3, axis=2)
    ends = diverging_colormap()(np.where(signed_map >= 0, 1.0, 0.0))[..., :3] * 255
    opacity = STRENGTH * np.clip(np.abs(signed_map), 0, 1)[..., None]
    return np.rint((1 - opacity) * base + opacity * ends).clip(0, 255).astype(np.uint8)
