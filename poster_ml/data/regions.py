"""What stands on a poster: foreground against ground, and regions of one colour.

Sources: Felzenszwalb and Huttenlocher 2004 (regions), Otsu 1979 (threshold), Buades et al. 2005 (non-local
means). Colour distances are taken in CIE Lab, where equal steps look about equally large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.cluster.vq import kmeans
from scipy.ndimage import convolve
from skimage.color import rgb2lab
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import closing, disk, remove_small_holes, remove_small_objects
from skimage.restoration import denoise_nl_means
from skimage.segmentation import felzenszwalb

from poster_ml.data.images import Pixels

FEATURE_SIDE = 64  # features are measured on posters reduced to this side: 2 ms instead of 40
SMALLEST_REGION = 0.003  # of the poster's area; smaller ones join a neighbour
SAME_COLOR = 14.0  # Lab units: two neighbours this close are one region
GROUND_COLORS = 3  # colours that a poster's border may have
BORDER = 0.06  # width of that border as a share of the shorter side
WEAKEST_FOREGROUND = 6.0  # Lab units from the ground; nearer colours are noise or gradient


def mark_regions(image: Pixels) -> npt.NDArray[np.int32]:
    """Parts a poster into connected regions of similar colour.

    Felzenszwalb's regions first; then neighbours with nearly the same mean colour are merged, the
    nearest first, which closes the cracks that grain and gradients leave in a ground.

    Args:
        image: (H, W, 3) uint8 RGB, both sides at least 16.

    Returns: (H, W) int32, numbered from 0 without gaps.
    """
    height, width = image.shape[:2]
    smallest = max(4, round(SMALLEST_REGION * height * width))
    lab = _lab(image)
    labels = felzenszwalb(lab / 100, scale=100, sigma=0.7, min_size=smallest)
    return _merge_similar(np.asarray(labels, np.int32), lab)


def foreground_mask(image: Pixels) -> npt.NDArray[np.bool_]:
    """Separates what stands on a poster from its ground.

    The ground is what has a colour of the border; how far a pixel's colour is from it is split by
    Otsu's threshold, and specks are removed.

    Args:
        image: (H, W, 3) uint8 RGB, both sides at least 16.

    Returns: (H, W) bool, True in the foreground; all False for a poster of one colour.
    """
    height, width = image.shape[:2]
    lab = gaussian(_lab(image), sigma=min(height, width) / 150, channel_axis=-1)
    rim = max(1, round(BORDER * min(height, width)))
    border = np.ones((height, width), bool)
    border[rim:-rim, rim:-rim] = False
    ground = _main_colors(lab[border])
    distance = np.min([np.linalg.norm(lab - color, axis=-1) for color in ground], axis=0)
    if distance.max() < WEAKEST_FOREGROUND:
        return np.zeros((height, width), bool)
    mask = distance > max(threshold_otsu(distance), WEAKEST_FOREGROUND)
    mask = closing(mask, disk(max(1, min(height, width) // 100)))
    largest_speck = round(SMALLEST_REGION * height * width / 4) - 1
    return remove_small_holes(remove_small_objects(mask, max_size=largest_speck), max_size=largest_speck)


def denoise(image: Pixels) -> Pixels:
    """Removes grain and compression noise by non-local means, keeping letters sharp.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns: the same shape, uint8.
    """
    values = image.astype(np.float32) / 255
    # Noise by Immerkaer 1996, with a median for the mean: the mask answers neither to flat colour nor to
    # straight ramps, the median ignores edges. `skimage.restoration.estimate_sigma` needs PyWavelets.
    mask = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)[..., None]
    noise = np.median(np.abs(convolve(values, mask))) / (0.6745 * 6)
    # Texture deceives the estimate: beyond .04 fine type would be lost.
    strength = float(np.clip(noise, 0.01, 0.04))
    cleaned = denoise_nl_means(
        values, patch_size=5, patch_distance=6, h=1.2 * strength, sigma=strength, channel_axis=-1
    )
    return np.asarray(np.clip(np.rint(cleaned * 255), 0, 255), np.uint8)


def region_features(image: Pixels) -> dict[str, float]:
    """Measures the regions of one poster.

    Args:
        image: (H, W, 3) uint8 RGB; reduced to FEATURE_SIDE first.

    Returns: region_count; largest_region_share and foreground_share of the area in [0, 1];
        small_region_share, the area in regions below a hundredth of the poster; and region_evenness in
        [0, 1], the entropy of the area shares over its maximum: 1 where all regions are equally large.
    """
    reduced = Image.fromarray(image).resize((FEATURE_SIDE, FEATURE_SIDE), Image.Resampling.BOX)
    small = np.asarray(reduced)
    labels = mark_regions(small)
    shares = np.bincount(labels.ravel()) / labels.size
    count = len(shares)
    entropy = float(-(shares * np.log(shares)).sum())
    return {
        "region_count": float(count),
        "largest_region_share": float(shares.max()),
        "small_region_share": float(shares[shares < 0.01].sum()),
        "region_evenness": entropy / np.log(count) if count > 1 else 0.0,
        "foreground_share": float(foreground_mask(small).mean()),
    }


def _merge_similar(labels: npt.NDArray[np.int32], lab: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Merges the two neighbours of nearest mean colour until none are within SAME_COLOR.

    By hand, since `skimage.graph` takes 40 ms for the same regions of 64 x 64 pixels, and this takes 2.
    """
    count = int(labels.max()) + 1
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count).astype(float)
    sums = np.stack([np.bincount(flat, lab[..., axis].ravel(), count) for axis in range(3)], axis=1)
    touching = np.zeros((count, count), bool)
    for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        touching[first, second] = True
    touching |= touching.T
    np.fill_diagonal(touching, False)
    means = sums / sizes[:, None]
    distance = np.where(touching, np.linalg.norm(means[:, None] - means, axis=-1), np.inf)
    parent = np.arange(count)
    while count > 1 and distance.min() < SAME_COLOR:
        kept, gone = sorted(divmod(int(distance.argmin()), count))
        parent[parent == gone] = kept
        sizes[kept] += sizes[gone]
        sums[kept] += sums[gone]
        touching[kept] |= touching[gone]
        touching[:, kept] = touching[kept]
        touching[gone] = touching[:, gone] = False
        touching[kept, kept] = False
        means[kept] = sums[kept] / sizes[kept]
        distance[gone] = distance[:, gone] = np.inf
        row = np.where(touching[kept], np.linalg.norm(means - means[kept], axis=-1), np.inf)
        distance[kept] = distance[:, kept] = row
    _, renumbered = np.unique(parent, return_inverse=True)
    return np.asarray(renumbered[labels], np.int32)


def _main_colors(colors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Finds GROUND_COLORS means of (P, 3) colours, or fewer, by k-means from quantiles of lightness."""
    order = np.argsort(colors[:, 0], kind="stable")
    quantiles = (np.arange(GROUND_COLORS) + 0.5) / GROUND_COLORS * len(colors)
    means, _ = kmeans(colors, colors[order[quantiles.astype(int)]])
    return np.asarray(means)


def _lab(image: Pixels) -> Any:
    return rgb2lab(image.astype(np.float32) / 255)
