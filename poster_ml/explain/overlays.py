"""Maps as pictures: a diverging scale, warm for Fresh and cold for Rotten, laid over the poster."""

from __future__ import annotations

import numpy as np

from poster_ml.figures import diverging_colormap


def map_picture(signed_map: np.ndarray) -> np.ndarray:
    """Colours a map.

    Args:
        signed_map: (H, W), values in [-1, 1]; positive speaks for Fresh.

    Returns: (H, W, 3) uint8; 0 is near white, 1 warm, -1 cold.
    Raises: ValueError with the shape received.
    """
    if signed_map.ndim != 2:
        raise ValueError(f"a map must be (H, W), got {signed_map.shape=}")
    colours = diverging_colormap()((np.clip(signed_map, -1, 1) + 1) / 2)[..., :3]
    return np.rint(colours * 255).astype(np.uint8)


def overlay(image: np.ndarray, signed_map: np.ndarray, strength: float = 0.75) -> np.ndarray:
    """Lays a map over its poster; where the map is zero the poster shows through in grey.

    Args:
        image: (H, W, 3) uint8.
        signed_map: (H, W) in [-1, 1]; positive speaks for Fresh.
        strength: opacity in [0, 1] of the colour where the map is +1 or -1.

    Returns: (H, W, 3) uint8.
    Raises: ValueError with the shapes, or the strength, received.
    """
    if image.shape != (*signed_map.shape, 3):
        raise ValueError(f"image and map do not fit: {image.shape=}, {signed_map.shape=}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be in [0, 1], got {strength=}")
    # Grey below: colours of the poster itself would be read as colours of the map.
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    base = np.repeat((40 + 0.75 * grey)[..., None], 3, axis=2)
    ends = diverging_colormap()(np.where(signed_map >= 0, 1.0, 0.0))[..., :3] * 255
    opacity = strength * np.clip(np.abs(signed_map), 0, 1)[..., None]
    return np.rint((1 - opacity) * base + opacity * ends).clip(0, 255).astype(np.uint8)
