"""Taking parts of a poster away: deletion, insertion, and noisy linear imputation (ROAD).

What is removed is chosen by rank: the share of places with the highest (or lowest) map value. Ties
are broken by a seeded shuffle, so that a flat map removes at random instead of from the top left.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from poster_ml.seeding import generator

_IMPUTATION_SIDE = 56  # places on the longer side; the linear system has one unknown per removed place
_IMPUTATION_NOISE = 0.01 * 255  # standard deviation in pixel values, as in the paper's code
# Weights of the eight neighbours (Rong et al. 2022, section 5): direct 1/6, diagonal 1/12.
_NEIGHBOURS = [
    (down, across, 1 / 6 if 0 in (down, across) else 1 / 12)
    for down, across in product((-1, 0, 1), repeat=2)
    if (down, across) != (0, 0)
]


def rank_places(saliency: np.ndarray, seed: int) -> np.ndarray:
    """Ranks the places of one (H, W) map, 0 for the highest value; ties in seeded random order.

    Returns: (H, W) int array, a permutation of 0 .. H*W - 1.
    """
    values = saliency.ravel()
    shuffled = generator(seed, "ties").permutation(values.size)
    order = shuffled[np.argsort(-values[shuffled], kind="stable")]
    ranks = np.empty(values.size, np.int64)
    ranks[order] = np.arange(values.size)
    return ranks.reshape(saliency.shape)


def top_mask(ranks: np.ndarray, share: float) -> np.ndarray:
    """Returns (H, W) bool: the `share` (in [0, 1]) of places with the lowest ranks."""
    return np.asarray(ranks < round(share * ranks.size))


def luminance(images: np.ndarray) -> np.ndarray:
    """Returns the luminance (ITU-R BT.601) of posters (..., 3) uint8: (...) float32 in [0, 255]."""
    return images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def mean_grey(image: np.ndarray) -> np.ndarray:
    """The grey of the poster's mean luminance: the end of deletion. (H, W, 3) uint8.

    Not its mean colour, which would keep what a model reads from colour, spread out.
    """
    mean = float(image.mean(axis=(0, 1)) @ np.array([0.299, 0.587, 0.114]))
    return np.full(image.shape, round(mean), np.uint8)


def blurred(image: np.ndarray, share: float = 1 / 12) -> np.ndarray:
    """Blurs a poster by a share of its longer side: (H, W, 3) uint8.

    By default only its large areas are left: the start of insertion.
    """
    sigma = share * max(image.shape[:2])
    return np.rint(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))).astype(np.uint8)


def replace(image: np.ndarray, mask: np.ndarray, filling: np.ndarray) -> np.ndarray:
    """Returns the image with the places of `mask` taken from `filling`; (H, W, 3) uint8."""
    return np.where(mask[..., None], filling, image)


def impute(image: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    """Noisy linear imputation: each removed place becomes the mean of its neighbours plus little noise.

    Source: Rong et al. 2022 (arXiv:2202.00449), section 5. It hides the shape of the mask, which a network
    can read as a class of its own. Solved on a grid of at most 56 places a side and enlarged (the system over
    all pixels of 224 x 224 takes seconds); pixels that stay are the poster's own.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool, True is removed.
        seed: of the noise.

    Returns: (H, W, 3) uint8; with everything removed, grey plus noise.
    """
    if not mask.any():
        return image.copy()
    noise = generator(seed, "imputation").normal(0, _IMPUTATION_NOISE, image.shape)
    filling = mean_grey(image) if mask.all() else _smooth_filling(image, mask)
    return replace(image, mask, np.rint(filling + noise).clip(0, 255).astype(np.uint8))


def _smooth_filling(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    scale = min(1.0, _IMPUTATION_SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    kept = _resize((~mask).astype(np.float32), rows, columns)
    # Only kept pixels enter a place's colour: what was removed must not leak into its surroundings.
    colours = (
        np.stack([_resize(image[..., channel] * ~mask, rows, columns) for channel in range(3)], axis=-1)
        / np.maximum(kept, 1e-6)[..., None]
    )
    known = kept > 1e-6
    if not known.all():
        colours[~known] = _solve(colours, known)
    return np.stack([_resize(colours[..., channel], height, width) for channel in range(3)], axis=-1)


def _solve(colours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Solves for the places that are not known, each the weighted mean of its neighbours: (unknown, 3)."""
    weights, system = _neighbour_weights(*known.shape)
    unknown = np.flatnonzero(~known)
    right = weights[unknown][:, known.ravel()] @ colours[known]
    return np.asarray(spsolve(system[unknown][:, unknown], right)).reshape(len(unknown), 3)


@cache
def _neighbour_weights(rows: int, columns: int) -> tuple[Any, Any]:
    """Weights of each place's neighbours (places, places), and their sums less them: a place's equation.

    At the border fewer neighbours share the weight.
    """
    weights = sum(
        weight * sparse.kron(sparse.eye(rows, k=down), sparse.eye(columns, k=across))
        for down, across, weight in _NEIGHBOURS
    ).tocsr()
    return weights, (sparse.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights).tocsc()


def _resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes (h, w): by area when it shrinks, bilinear when it grows."""
    shrinks = height < values.shape[0] or width < values.shape[1]
    kind = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((width, height), kind), np.float64)
