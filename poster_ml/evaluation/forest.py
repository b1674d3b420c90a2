"""Forest plots: one line per estimate with its interval, to be compared by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from poster_ml.evaluation.stats import Interval
from poster_ml.figures import INK, NEUTRAL, new_figure, save_figure


@dataclass(frozen=True)
class ForestRow:
    """One line: its name, the estimate, and what stands beside it (for example "n = 120").

    A row with the name of the one before stands close below it. `filled` False draws an open marker.
    """

    name: str
    interval: Interval
    note: str = ""
    colour: str = INK
    filled: bool = True


def draw_forest(
    path: Path,
    rows: Sequence[ForestRow],
    *,
    label: str,
    title: str,
    reference: float,
    form: str = "",
    legend: Mapping[str, str] | None = None,
) -> Path:
    """Draws estimates with their intervals, first row on top.

    Args:
        path: the PNG to write.
        rows: at least one.
        label: of the value axis.
        title: above the plot.
        reference: a vertical line, for example 0.5 for chance or 0 for no difference.
        form: of the estimates beside the plot; empty: three digits, with a sign around a reference of 0.
        legend: name -> colour.

    Returns: the path.
    """
    if not rows:
        raise ValueError("a forest plot needs at least one row, got none")
    form = form or ("+.3f" if reference == 0 else ".3f")
    same = np.array([False] + [row.name == before.name for before, row in pairwise(rows)])
    heights = -np.cumsum(np.where(same, 0.6, 1.0))
    figure, axes = new_figure(7.2, 1.1 - 0.3 * heights[-1])
    axis = axes[0][0]
    axis.axvline(reference, color=NEUTRAL, linewidth=1.0)
    for row, height in zip(rows, heights, strict=True):
        colour = row.colour
        axis.plot([row.interval.low, row.interval.high], [height, height], color=colour, linewidth=1.8)
        face = colour if row.filled else "white"
        axis.plot([row.interval.estimate], [height], "o", markersize=5, color=colour, markerfacecolor=face)
        axis.annotate(
            "   ".join(part for part in (f"{row.interval.estimate:{form}}", row.note) if part),
            (1.02, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
        )
    axis.set_yticks(heights[~same], [row.name for row, below in zip(rows, same, strict=True) if not below])
    axis.set_ylim(heights[-1] - 0.6, -0.4)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(label, fontsize=9)
    axis.set_title(title, loc="left", fontsize=10)
    if legend:
        lines = [axis.plot([], [], "o-", color=colour, label=name)[0] for name, colour in legend.items()]
        figure.legend(handles=lines, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return save_figure(figure, path)
