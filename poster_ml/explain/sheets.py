"""Sheets: posters with map, overlay and caption, for people to look at."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from poster_ml.explain.removal import luminance
from poster_ml.figures import diverging_colormap, new_figure, picture_axis, save_figure

# Tried in this order for each letter; those that a machine lacks are left out.
_FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Hiragino Sans", "Arial Unicode MS")
_TITLE_LETTERS = 52
_LETTERS = 22  # of a line below a picture of `write_rows`
_TALL = 1.45  # height of a poster over its width
STRENGTH = 0.75  # opacity of the colour where the map is +1 or -1


def write_sheet(
    path: Path, images: np.ndarray, maps: np.ndarray, captions: Sequence[str], heading: str
) -> Path:
    """Writes one sheet as PNG: for each poster the poster, its map and the overlay side by side.

    Args:
        path: the PNG file; its folder is made.
        images: (N, H, W, 3) uint8; N may be 0, the sheet then says that there is none.
        maps: (N, H, W) signed maps in [-1, 1], positive for Fresh.
        captions: N texts, as of `poster_caption`.
        heading: one line over the sheet.

    Returns: the path.
    """
    rows = max(1, math.ceil(len(images) / 2))
    picture_height = 1.75 * min(2.0, max(0.6, images.shape[1] / images.shape[2]))
    figure, axes = new_figure(10.8, rows * (picture_height + 0.55) + 1.1, rows, 6)  # two posters per row
    for axis in axes.flat:
        picture_axis(axis)
    font = {"fontfamily": _fonts(), "parse_math": False}
    figure.suptitle(heading, fontsize=12, weight="bold", **font)
    for cell, image, signed_map, caption in zip(axes.reshape(-1, 3), images, maps, captions, strict=False):
        cell[0].set_title(caption, loc="left", fontsize=9, **font)
        cell[0].imshow(image)
        cell[1].imshow(signed_map, cmap=diverging_colormap(), vmin=-1, vmax=1)
        cell[2].imshow(overlay(image, signed_map))
    if not len(images):
        axes[0, 2].set_title("no such poster", fontsize=12)
    colours = ScalarMappable(Normalize(-1, 1), diverging_colormap())
    place = {"location": "bottom", "fraction": 0.03, "pad": 0.02, "aspect": 60, "shrink": 0.4}
    scale = figure.colorbar(colours, ax=axes, ticks=[-1, 1], **place)
    scale.ax.set_xticklabels(["speaks for Rotten", "speaks for Fresh"])
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        # A letter that no font of this machine has is drawn as an empty box; no reason to fail or to chatter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        return save_figure(figure, path)


def write_rows(path: Path, rows: Sequence[Sequence[tuple[np.ndarray, str]]], heading: str) -> Path:
    """Writes rows of pictures with their captions as PNG, the first of a row set apart.

    Args:
        path: the PNG file; its folder is made.
        rows: of (H, W, 3) uint8 and captions; at least one row.
        heading: one line over all.

    Returns: the path.
    """
    columns = max(map(len, rows))
    figure, axes = new_figure(1.5 * columns, 2.4 * len(rows) + 0.6, len(rows), columns)
    font = {"fontfamily": _fonts(), "parse_math": False}
    figure.suptitle(heading, fontsize=12, weight="bold", **font)
    for axis in axes.flat:
        picture_axis(axis)
    for line, row in zip(axes, rows, strict=True):
        for number, (axis, (image, caption)) in enumerate(zip(line, row, strict=False)):
            title, *rest = caption.split("\n")
            wrapped = textwrap.fill(" ".join(title.split()), _LETTERS, max_lines=2, placeholder="…")
            weight = "bold" if number == 0 else "normal"
            axis.set_xlabel("\n".join([wrapped, *rest]), fontsize=8, weight=weight, **font)
            axis.imshow(image, aspect="auto")
            axis.set_box_aspect(_TALL)
    return _save(figure, path)


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


def poster_caption(title: str, probability: float, label: int | None = None) -> str:
    """Returns a short title, then the true label (1 Fresh, 0 Rotten) where known, and the probability."""
    line = " ".join(title.split()) or "(no title)"
    short = line if len(line) <= _TITLE_LETTERS else line[: _TITLE_LETTERS - 1] + "…"
    truth = "" if label is None else f"true label {'Fresh' if label else 'Rotten'}, "
    return f"{short}\n{truth}P(Fresh) = {probability:.3f}"


def _fonts() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _FONTS if name in installed] or ["sans-serif"]
