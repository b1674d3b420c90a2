"""Maps that know nothing of the model: a map method that does not beat them explains nothing."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from poster_ml.explain.graph import check_images
from poster_ml.explain.maps import normalise, resize_maps
from poster_ml.seeding import generator

_RANDOM_GRID = 7  # places a side, as coarse as the maps of the backbones at 224 pixels


def random_maps(images: np.ndarray, seed: int) -> np.ndarray:
    """Noise as coarse as a real map: (B, H, W) float32 in [0, 1]; depends on the seed and the row only."""
    check_images(images)
    noise = [
        generator(seed, "random map", row).random((_RANDOM_GRID, _RANDOM_GRID)) for row in range(len(images))
    ]
    grids = np.array(noise, np.float32).reshape(len(images), _RANDOM_GRID, _RANDOM_GRID)
    return normalise(resize_maps(grids, *images.shape[1:3]))


def edge_maps(images: np.ndarray) -> np.ndarray:
    """Sobel magnitude of the luminance, smoothed to the coarseness of a map: (B, H, W) float32 in [0, 1]."""
    check_images(images)
    luminance = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    across, down = ndimage.sobel(luminance, axis=2), ndimage.sobel(luminance, axis=1)
    sigma = max(images.shape[1:3]) / (4 * _RANDOM_GRID)
    return normalise(ndimage.gaussian_filter(np.hypot(across, down), (0, sigma, sigma)))


def centre_maps(images: np.ndarray) -> np.ndarray:
    """A Gaussian on the middle, a quarter of the side wide, for all posters: (B, H, W) float32 in [0, 1]."""
    check_images(images)
    height, width = images.shape[1:3]
    down = (np.arange(height) + 0.5) / height - 0.5
    across = (np.arange(width) + 0.5) / width - 0.5
    one = np.exp(-(down[:, None] ** 2 + across[None] ** 2) / (2 * 0.25**2))
    return normalise(np.repeat(one[None], len(images), axis=0))


def control_maps(images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Returns all controls by name, each (B, H, W) float32 in [0, 1]."""
    return {"random": random_maps(images, seed), "edge": edge_maps(images), "centre": centre_maps(images)}
