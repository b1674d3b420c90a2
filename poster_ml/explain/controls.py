"""Maps that know nothing of the model: a map method that does not beat them explains nothing."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from poster_ml.explain.maps import normalise
from poster_ml.explain.removal import luminance
from poster_ml.seeding import generator

_RANDOM_GRID = 7  # places a side, as coarse as the maps of the backbones at 224 pixels


def control_maps(images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Draws all controls of posters (B, H, W, 3) uint8: name -> (B, H, W) float32 in [0, 1].

    `random`: noise as coarse as a real map; it depends on the seed and the row only. `edge`: Sobel magnitude
    of the luminance, smoothed to the coarseness of a map. `centre`: as `centre_map`.
    """
    height, width = images.shape[1:3]
    grey = luminance(images)
    edges = np.hypot(ndimage.sobel(grey, axis=2), ndimage.sobel(grey, axis=1))
    sigma = max(height, width) / (4 * _RANDOM_GRID)
    return {
        "random": normalise(np.stack([_noise(row, height, width, seed) for row in range(len(images))])),
        "edge": normalise(ndimage.gaussian_filter(edges, (0, sigma, sigma))),
        "centre": np.repeat(centre_map(height, width)[None], len(images), axis=0),
    }


def centre_map(height: int, width: int) -> np.ndarray:
    """Returns a Gaussian on the middle, a quarter of the side wide: (height, width) float32 in [0, 1]."""
    down = (np.arange(height) + 0.5) / height - 0.5
    across = (np.arange(width) + 0.5) / width - 0.5
    return normalise(np.exp(-(down[None, :, None] ** 2 + across**2) / (2 * 0.25**2)))[0]


def _noise(row: int, height: int, width: int, seed: int) -> np.ndarray:
    grid = generator(seed, "random map", row).random((_RANDOM_GRID, _RANDOM_GRID)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BILINEAR))
