"""Taking parts of a poster away: deletion, insertion, and noisy linear imputation (ROAD).

What is removed is chosen by rank: the share of places with the highest (or lowest) map value. Ties are broken
by a seeded shuffle, so that a flat map removes at random instead of from the top left.
"""

from __future__ import annotations

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
    for down in (-1, 0, 1)
    for across in (-1, 0, 1)
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


def mean_grey(image: np.ndarray) -> np.ndarray:
    """The grey of the poster's mean luminance: the end of deletion. (H, W, 3) uint8.

    Not its mean colour, which would keep what a model reads from colour, spread out.
    """
    luminance = float(image.mean(axis=(0, 1)) @ np.array([0.299, 0.587, 0.114]))
    return np.full(image.shape, round(luminance), np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    """The poster so blurred that only its large areas are left: the start of insertion. (H, W, 3) uint8."""
    sigma = max(image.shape[:2]) / 12
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
    noise = generator(seed, "imputation").normal(0, _IMPUTATION_NOISE, image.shape)
    if mask.all():
        filling = mean_grey(image).astype(np.float64)
    elif not mask.any():
        return image.copy()
    else:
        filling = _smooth_filling(image, mask)
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
    colours[~known] = _solve(colours, known)
    return np.stack([_resize(colours[..., channel], height, width) for channel in range(3)], axis=-1)


def _solve(colours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Solves for the unknown places; returns (unknown, 3)."""
    rows, columns = known.shape
    unknown = np.argwhere(~known)
    if len(unknown) == 0:
        return np.zeros((0, 3))
    number = np.full(known.shape, -1)
    number[~known] = np.arange(len(unknown))
    right = np.zeros((len(unknown), 3))
    weight_sum = np.zeros(len(unknown))
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for down, across, weight in _NEIGHBOURS:
        place = unknown + np.array([down, across])
        inside = ((place >= 0) & (place < (rows, columns))).all(axis=1)
        here = np.flatnonzero(inside)
        there = place[inside]
        weight_sum[here] += weight  # at the border fewer neighbours share the weight
        is_known = known[there[:, 0], there[:, 1]]
        right[here[is_known]] += weight * colours[there[is_known, 0], there[is_known, 1]]
        linked = here[~is_known]
        entries.append(
            (linked, number[there[~is_known, 0], there[~is_known, 1]], np.full(len(linked), -weight))
        )
    entries.append((np.arange(len(unknown)), np.arange(len(unknown)), weight_sum))
    row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    system = sparse.csc_matrix((value, (row, column)), shape=(len(unknown), len(unknown)))
    return np.asarray(spsolve(system, right)).reshape(len(unknown), 3)


def _resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes (h, w): by area when it shrinks, bilinear when it grows."""
    shrinks = height < values.shape[0] or width < values.shape[1]
    kind = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((width, height), kind), np.float64)
