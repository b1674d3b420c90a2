"""Simple properties of posters, measured for the audit: what could give the label away without any content.

Sources: Hasler and Süsstrunk 2003 (colourfulness); Pech-Pacheco et al. 2000 (sharpness as the
variance of the Laplacian).
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pandas as pd

from poster_ml.data.images import Pixels
from poster_ml.data.regions import region_features
from poster_ml.progress import progress

EDGE = 0.08  # of the full range per pixel: a step that the eye sees as an outline
CORNER = 8  # a corner patch is one part in so many of the side
CORNERS = {
    "corner_top_left": (0, 0),
    "corner_top_right": (0, 1),
    "corner_bottom_left": (1, 0),
    "corner_bottom_right": (1, 1),
}


def measure(images: npt.NDArray[np.uint8], rows: Iterable[int], *, workers: int = 2) -> pd.DataFrame:
    """Measures posters one by one, so that memory does not grow with their number.

    Args:
        images: (N, S, S, 3) uint8 RGB, in memory or memory-mapped; S at least 16.
        rows: which of them, in the order of the result.
        workers: threads; NumPy and SciPy compute outside Python's lock.

    Returns: one row per poster, indexed by `row`, with the columns of `measure_poster`.
    """
    wanted = [int(row) for row in rows]
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        # The copy is one poster: a thread never holds the memory map's pages longer than it needs them.
        measured = pool.map(lambda row: measure_poster(np.array(images[row])), wanted)
        table = list(progress(measured, "measuring posters", total=len(wanted)))
    return pd.DataFrame(table, index=pd.Index(wanted, name="row"))


def measure_poster(image: Pixels) -> dict[str, float]:
    """Measures one poster.

    Args:
        image: (H, W, 3) uint8 RGB, both sides at least 16.

    Returns: by name:
        brightness: mean luma in [0, 1] (Rec. 601).
        contrast: standard deviation of luma (RMS contrast), in [0, .5].
        saturation: mean of (max - min) / max over the channels, in [0, 1].
        warmth: mean of red - blue, in [-1, 1].
        colorfulness: Hasler and Süsstrunk's M3; 0 for grey, about 100 for extremely colourful.
        sharpness: variance of the Laplacian of luma.
        edge_density: share of pixels with a gradient above EDGE.
        entropy: of the luma histogram, in bits, at most 8.
        corner_*: mean luma of that corner less that of the poster, in [-1, 1].
        region_*, foreground_share, ...: see `regions.region_features`.
    """
    values = image.astype(np.float32) / 255
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    # Pairwise: a reduction over the short last axis is five times slower.
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    saturation = (highest - lowest) / np.maximum(highest, 1e-6)
    levels = np.bincount((luma * 255 + 0.5).astype(np.uint8).ravel(), minlength=256) / luma.size
    filled = levels[levels > 0]
    measured = {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "saturation": float(saturation.mean()),
        "warmth": float((red - blue).mean()),
        "colorfulness": _colorfulness(red, green, blue),
        **_edges(luma),
        "entropy": float(-(filled * np.log2(filled)).sum()) + 0.0,
    }
    return measured | _corners(luma) | region_features(image)


def _colorfulness(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> float:
    """Eq. for M3 in Hasler and Süsstrunk 2003, on the 0..255 scale."""
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    offset = np.hypot(red_green.mean(), yellow_blue.mean())
    return float(255 * (spread + 0.3 * offset))


def _edges(luma: np.ndarray) -> dict[str, float]:
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    down = (luma[2:, 1:-1] - luma[:-2, 1:-1]) / 2
    across = (luma[1:-1, 2:] - luma[1:-1, :-2]) / 2
    return {
        "sharpness": float(laplacian.var()),
        "edge_density": float((np.hypot(down, across) > EDGE).mean()),
    }


def _corners(luma: np.ndarray) -> dict[str, float]:
    """Marks, logos and scanner borders sit in corners."""
    high, wide = max(2, luma.shape[0] // CORNER), max(2, luma.shape[1] // CORNER)
    mean = float(luma.mean())
    found = {}
    for name, (bottom, right) in CORNERS.items():
        patch = luma[-high:] if bottom else luma[:high]
        patch = patch[:, -wide:] if right else patch[:, :wide]
        found[name] = float(patch.mean()) - mean
    return found
