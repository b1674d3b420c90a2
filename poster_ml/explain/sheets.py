"""Sheets: posters with map, overlay, title, true label and probability, for people to look at."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.explain.overlays import map_picture, overlay
from poster_ml.figures import (
    FRESH,
    INK,
    NEUTRAL,
    PAPER,
    ROTTEN,
    diverging_colormap,
    picture_axis,
    save_figure,
)

HEADING_SIZE = 14.0  # points
HEADING_LETTER = 0.122  # inches for a bold letter of that size; headings were measured at .111 to .115
# Tried in this order for each letter; those that a machine lacks are left out.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Arabic",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "Arial Unicode MS",
)


def write_sheet(
    path: Path,
    images: np.ndarray,
    maps: np.ndarray,
    titles: Sequence[str | float | None],
    labels: Sequence[int | None],
    probabilities: Sequence[float],
    heading: str,
) -> Path:
    """Writes one sheet as PNG: for each poster the poster, its map and the overlay side by side.

    Args:
        path: the PNG file; its folder is made.
        images: (N, H, W, 3) uint8; N may be 0, the sheet then says that there is none.
        maps: (N, H, W) signed maps in [-1, 1], positive for Fresh.
        titles: N names; None, NaN or "" is shown as "(no title)".
        labels: N true labels, 1 Fresh, 0 Rotten, None or negative where it is not known.
        probabilities: N probabilities of Fresh, in [0, 1].
        heading: one line over the sheet.

    Returns: the path.
    Raises: ValueError where the lengths differ.
    """
    lengths = {len(images), len(maps), len(titles), len(labels), len(probabilities)}
    if len(lengths) != 1:
        raise ValueError(
            f"one map, title, label and probability per image is needed, got {len(images)} images, "
            f"{len(maps)} maps, {len(titles)} titles, {len(labels)} labels, "
            f"{len(probabilities)} probabilities"
        )
    figure, cells = _new_sheet(len(images), images.shape[1:3] if len(images) else (3, 2), heading)
    for number, cell in enumerate(cells):
        pictures = (images[number], map_picture(maps[number]), overlay(images[number], maps[number]))
        axes = cell.subplots(1, 3, gridspec_kw={"wspace": 0.04})
        for axis, picture in zip(axes, pictures, strict=True):
            picture_axis(axis)
            axis.imshow(picture, interpolation="nearest" if picture.shape[0] < 64 else "antialiased")
        _caption(cell, titles[number], labels[number], float(probabilities[number]))
    if not cells:
        figure.text(0.5, 0.4, "no such poster", ha="center", color=NEUTRAL, fontsize=12)
    with warnings.catch_warnings():
        # A letter that no font of this machine has is drawn as an empty box; no reason to fail or to chatter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        return save_figure(figure, path)


def _new_sheet(count: int, picture_size: tuple[int, int], heading: str) -> tuple[Any, list[Any]]:
    """Lays out two posters per row; returns the figure and one sub-figure per poster."""
    from matplotlib.figure import Figure

    columns = min(2, max(1, count))
    rows = max(1, math.ceil(count / 2))
    cell_width = 5.4
    picture_height = (cell_width - 0.4) / 3 * min(2.0, max(0.6, picture_size[0] / picture_size[1]))
    cell_height = picture_height + 0.75 if count else 0.8
    height = rows * cell_height + 1.0
    figure = Figure(figsize=(max(columns * cell_width, 7.0), height), facecolor=PAPER)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.0, rows * cell_height])
    head, body = parts
    fits = 0.96 * figure.get_figwidth() / HEADING_LETTER  # letters in one line
    size = HEADING_SIZE * min(1.0, fits / max(1, len(heading)))
    head.text(0.02, 0.78, heading, fontsize=size, weight="bold", color=INK, va="center", parse_math=False,
              fontfamily=_fonts())  # fmt: skip
    _legend(head)
    if not count:
        return figure, []
    grid = body.subfigures(rows, columns, squeeze=False)
    return figure, list(grid.flat)[:count]


def _legend(head: Any) -> None:
    """The colour scale, with what its ends mean."""
    axis = head.add_axes((0.22, 0.22, 0.24, 0.16))
    picture_axis(axis)
    axis.imshow(np.linspace(-1, 1, 256)[None], aspect="auto", cmap=diverging_colormap())
    head.text(0.21, 0.3, "speaks for Rotten", ha="right", va="center", fontsize=9, color=ROTTEN)
    head.text(0.47, 0.3, "speaks for Fresh", ha="left", va="center", fontsize=9, color=FRESH)
    head.text(0.98, 0.3, "poster  ·  map  ·  overlay", ha="right", va="center", fontsize=9, color=NEUTRAL)


def _caption(cell: Any, title: Any, label: int | None, probability: float) -> None:
    """Title, true label and probability under the three pictures; the colour says right or wrong."""
    cell.subplots_adjust(left=0.02, right=0.98, top=0.98, bottom=0.19)
    cell.text(0.02, 0.125, short_title(title), fontsize=10, weight="bold", color=INK, va="center",
              parse_math=False, fontfamily=_fonts())  # fmt: skip
    known = {1: ("Fresh", FRESH), 0: ("Rotten", ROTTEN)}
    truth, colour = ("not known", NEUTRAL) if label is None else known.get(label, ("not known", NEUTRAL))
    cell.text(0.02, 0.045, f"true label {truth}", fontsize=9, va="center", color=colour)
    cell.text(
        0.98, 0.045, f"P(Fresh) {_percent(probability)}", fontsize=9, va="center", ha="right", color=INK
    )


def _percent(probability: float) -> str:
    """Never rounds a sure but uncertain answer to 0 or 100 %."""
    if 0 < probability < 0.001 or 0.999 < probability < 1:
        return "< 0.1 %" if probability < 0.5 else "> 99.9 %"
    return f"= {100 * probability:.1f} %"


def short_title(title: Any, width: int = 52) -> str:
    """Returns a title of one line of at most `width` letters; "(no title)" for None, NaN and blanks."""
    if title is None or (isinstance(title, float) and math.isnan(title)):
        return "(no title)"
    text = " ".join(str(title).split())
    if len(text) <= width:
        return text or "(no title)"
    shortened = textwrap.shorten(text, width=width, placeholder=" …")
    return shortened if len(shortened) > width // 2 else text[: width - 1] + "…"


def _fonts() -> list[str]:
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _FONTS if name in installed] or ["sans-serif"]
