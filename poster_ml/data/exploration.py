"""The exploration figures of the study: denoised, foreground against ground, regions, augmentation.

Each function draws one figure of a few posters; nothing here writes files. A prepared dataset holds squashed
squares: the figures show them in the proportions of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import shorten
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from skimage.color import label2rgb
from skimage.segmentation import mark_boundaries

from poster_ml.data.images import Pixels
from poster_ml.data.reading import PreparedDataset, Rows
from poster_ml.data.regions import denoise, foreground_mask, mark_regions
from poster_ml.figures import FRESH, INK, ROTTEN, new_figure, picture_axis

GROUND_TONE, FIGURE_TONE = (38, 53, 71), (242, 226, 190)  # the two colours of the mask
AMPLIFIED = 8  # the noise is drawn so many times stronger, around a middle grey
CELL_WIDTH = 1.45  # inches
VERSIONS = 5  # augmented versions per poster, as in the study


def draw_denoised(dataset: PreparedDataset, rows: Rows) -> Any:
    """Draws posters, the same without their noise, and what was taken away (amplified)."""
    posters = dataset.images[rows]
    cleaned = np.stack([denoise(poster) for poster in posters])
    taken = np.clip(128 + AMPLIFIED * (posters.astype(float) - cleaned), 0, 255).astype(np.uint8)
    lines = {"denoised": cleaned, f"taken away, × {AMPLIFIED}": taken}
    return _draw_below(dataset, rows, "Denoised by non-local means", lines)


def draw_foreground(dataset: PreparedDataset, rows: Rows) -> Any:
    """Draws posters over their two-colour masks, with the foreground's share of the area."""
    masks = np.stack([foreground_mask(poster) for poster in dataset.images[rows]])
    lines = {"foreground (light)": np.where(masks[..., None], FIGURE_TONE, GROUND_TONE)}
    notes = [f"foreground {mask.mean():.0%}" for mask in masks]
    return _draw_below(dataset, rows, "Foreground and ground", lines, notes)


def draw_regions(dataset: PreparedDataset, rows: Rows) -> Any:
    """Draws posters, their regions in the mean colour of each, and the regions' outlines."""
    posters = dataset.images[rows]
    regions = [mark_regions(poster) for poster in posters]
    pairs = list(zip(regions, posters, strict=True))
    lines = {
        "regions": [label2rgb(labels, poster, kind="avg", bg_label=-1) for labels, poster in pairs],
        "outlines": [mark_boundaries(poster, labels, to_rgb(FRESH)) for labels, poster in pairs],
    }
    shares = [np.bincount(labels.ravel()) / labels.size for labels in regions]
    notes = [f"{len(share)} regions, largest {share.max():.0%}" for share in shares]
    return _draw_below(dataset, rows, "Regions of similar colour", lines, notes)


def draw_augmentations(
    dataset: PreparedDataset, rows: Rows, augment: Callable[[Pixels, int], Pixels], description: str
) -> Any:
    """Draws five random versions of each poster.

    Args:
        dataset, rows: the posters.
        augment: (B, S, S, 3) uint8 and the number of the version to the same shape, uint8.
        description: what `augment` does, for the title.

    Returns: a matplotlib Figure.
    """
    posters = np.array(dataset.images[rows])
    lines = {f"version {number}": augment(posters, number) for number in range(1, VERSIONS + 1)}
    return _draw_below(dataset, rows, f"Random augmentation: {description}", lines)


def _draw_below(
    dataset: PreparedDataset,
    rows: Rows,
    title: str,
    lines: Mapping[str, Sequence[Pixels] | Pixels],
    notes: Sequence[str] = (),
) -> Any:
    """One poster a column, below it what was made of it, one picture a line, and its note."""
    index = dataset.index.iloc[rows]
    aspects = index["width"] / index["height"]  # of the sources
    tallest = min(2.0, (1 / aspects).max())  # longer strips than 2:1 are shown smaller
    height = 0.5 + (len(lines) + 1) * (0.93 * CELL_WIDTH * tallest + 0.08)
    figure, axes = new_figure(max(3.0, CELL_WIDTH * len(rows) + 0.3), height, len(lines) + 1, len(rows))
    figure.get_layout_engine().set(hspace=0.01, wspace=0.01, h_pad=0.03, w_pad=0.03)
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    for line, (name, pictures) in zip(axes, {"as it is": dataset.images[rows], **lines}.items(), strict=True):
        for axis, picture, aspect in zip(line, pictures, aspects, strict=True):
            picture_axis(axis)
            high, wide = picture.shape[:2]
            axis.imshow(picture, interpolation="lanczos", aspect=wide / high / aspect)
        line[0].set_ylabel(name, fontsize=8, color=INK)
    for axis, poster_title, label in zip(axes[0], index["title"], index["label"], strict=True):
        name, color = ("Fresh", FRESH) if label else ("Rotten", ROTTEN)
        heading = shorten(poster_title, 20, placeholder="…")
        axis.set_title(f"{heading}\n{name}", fontsize=8, color=color)
    for axis, note in zip(axes[-1], notes, strict=False):
        axis.set_xlabel(note, fontsize=8, color=INK)
    return figure
