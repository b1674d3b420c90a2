"""The exploration figures of the study: denoised, foreground against ground, regions, augmentation, samples.

Each function draws one figure from a few posters; nothing here writes files. A prepared dataset holds
squashed squares: the figures show them in the proportions of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poster_ml.data.images import Pixels
from poster_ml.data.regions import color_regions, denoise, foreground_mask, mark_regions
from poster_ml.figures import FRESH, INK, NEUTRAL, ROTTEN, new_figure, picture_axis

GROUND_TONE, FIGURE_TONE = (38, 53, 71), (242, 226, 190)  # the two colours of the mask
AMPLIFIED = 8  # the noise is drawn so many times stronger, around a middle grey
VERSIONS = 5  # augmented versions per poster, as in the study

Augment = Callable[[Pixels, int], Pixels]
Treated = tuple[list[Pixels], str]  # pictures to show below a poster, and a note


@dataclass(frozen=True)
class Specimen:
    """One poster to show.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        title: may be empty.
        label: 1 Fresh, 0 Rotten.
        aspect: width over height of the source.
    """

    pixels: Pixels
    title: str
    label: int
    aspect: float


def draw_denoised(specimens: Sequence[Specimen]) -> Any:
    """Draws posters, the same without their noise, and what was taken away (amplified)."""

    def treat(pixels: Pixels) -> Treated:
        cleaned = denoise(pixels)
        taken = np.clip(128 + AMPLIFIED * (pixels.astype(float) - cleaned), 0, 255)
        return [cleaned, taken.astype(np.uint8)], ""

    rows = ("as it is", "denoised", f"taken away, × {AMPLIFIED}")
    return _grid(specimens, treat, rows, "Denoised by non-local means")


def draw_foreground(specimens: Sequence[Specimen]) -> Any:
    """Draws posters over their two-colour masks, with the foreground's share of the area."""

    def treat(pixels: Pixels) -> Treated:
        mask = foreground_mask(pixels)
        tones = np.where(mask[..., None], FIGURE_TONE, GROUND_TONE).astype(np.uint8)
        return [tones], f"foreground {mask.mean():.0%}"

    return _grid(specimens, treat, ("as it is", "foreground (light)"), "Foreground and ground")


def draw_regions(specimens: Sequence[Specimen]) -> Any:
    """Draws posters, their regions in a colour each (the largest in grey), and the regions' outlines."""
    from matplotlib.colors import to_rgb
    from skimage.segmentation import find_boundaries

    def treat(pixels: Pixels) -> Treated:
        labels = mark_regions(pixels)
        outlined = (0.45 * pixels + 0.55 * 255).astype(np.uint8)
        outlined[find_boundaries(labels, mode="inner")] = 255 * np.array(to_rgb(FRESH))
        largest = np.bincount(labels.ravel()).max() / labels.size
        note = f"{labels.max() + 1} regions, largest {largest:.0%}"
        return [color_regions(labels), outlined], note

    return _grid(specimens, treat, ("as it is", "regions", "outlines"), "Regions of similar colour")


def draw_augmentations(
    specimens: Sequence[Specimen], augment: Augment, *, seed: int, description: str
) -> Any:
    """Draws each poster beside five random versions of it, one poster a row.

    Args:
        specimens: all of one size.
        augment: (B, H, W, 3) uint8 and a seed to the same shape, uint8.
        seed: of the first version.
        description: what `augment` does, for the title.

    Returns: a matplotlib Figure.
    """
    batch = np.stack([specimen.pixels for specimen in specimens])  # (B, H, W, 3)
    versions = [augment(batch, seed + number) for number in range(VERSIONS)]
    if any(version.shape != batch.shape or version.dtype != np.uint8 for version in versions):
        raise ValueError(
            f"augment must keep {batch.shape=} and uint8, got {versions[0].shape} {versions[0].dtype}"
        )
    figure, axes = _canvas(len(specimens), VERSIONS + 1, specimens, f"Random augmentation: {description}")
    for number, specimen in enumerate(specimens):
        pictures = [specimen.pixels, *(version[number] for version in versions)]
        for axis, picture in zip(axes[number], pictures, strict=True):
            _show(axis, picture, specimen.aspect)
    axes[0, 0].set_title("as it is", fontsize=8, color=INK)
    for number in range(VERSIONS):
        axes[0, number + 1].set_title(f"version {number + 1}", fontsize=8, color=NEUTRAL)
    return figure


def draw_samples(specimens: Sequence[Specimen], *, columns: int = 8) -> Any:
    """Draws a contact sheet: Fresh posters above, Rotten ones below, framed in the colour of their label."""
    ordered = sorted(specimens, key=lambda specimen: -specimen.label)
    groups = [[one for one in ordered if one.label == label] for label in (1, 0)]
    lines = [group[at : at + columns] for group in groups for at in range(0, len(group), columns)]
    title = "Fresh (warm frame) and Rotten (cold frame)"
    figure, axes = _canvas(len(lines), columns, specimens, title, width=1.05)
    for axis in axes.flat:
        picture_axis(axis)
    for row, line in zip(axes, lines, strict=True):
        for axis, specimen in zip(row, line, strict=False):
            _show(axis, specimen.pixels, specimen.aspect)
            axis.spines[:].set_visible(True)
            axis.spines[:].set_color(FRESH if specimen.label else ROTTEN)
            axis.spines[:].set_linewidth(2)
    return figure


def _grid(
    specimens: Sequence[Specimen], treat: Callable[[Pixels], Treated], rows: Sequence[str], title: str
) -> Any:
    """One poster a column, below it what `treat` made of it, one picture a row, and its note."""
    figure, axes = _canvas(len(rows), len(specimens), specimens, title)
    for column, specimen in zip(axes.T, specimens, strict=True):
        pictures, note = treat(specimen.pixels)
        for axis, picture in zip(column, [specimen.pixels, *pictures], strict=True):
            _show(axis, picture, specimen.aspect)
        name, color = ("Fresh", FRESH) if specimen.label else ("Rotten", ROTTEN)
        heading = f"{_shortened(specimen.title)}\n{name}".lstrip("\n")
        column[0].set_title(heading, fontsize=8, color=color)
        column[-1].set_xlabel(note, fontsize=8, color=INK)
    for axis, row in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(row, fontsize=8, color=INK)
    return figure


def _canvas(
    rows: int, columns: int, specimens: Sequence[Specimen], title: str, width: float = 1.45
) -> tuple[Any, Any]:
    """A figure whose cells are as high as the tallest poster at this width in inches."""
    # Longer strips than 2:1 are shown smaller.
    tallest = min(2.0, max(1 / specimen.aspect for specimen in specimens))
    figure, axes = new_figure(
        max(3.0, width * columns + 0.3), 0.5 + rows * (0.93 * width * tallest + 0.08), rows, columns
    )
    figure.get_layout_engine().set(hspace=0.01, wspace=0.01, h_pad=0.03, w_pad=0.03)
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    return figure, axes


def _show(axis: Any, picture: Pixels, aspect: float) -> None:
    picture_axis(axis)
    height, width = picture.shape[:2]
    axis.imshow(picture, interpolation="lanczos", aspect=width / height / aspect)


def _shortened(title: str, longest: int = 20) -> str:
    return title if len(title) <= longest else title[: longest - 1].rstrip() + "…"
