"""Forest plots: one line per estimate with its interval, to be compared by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poster_ml.evaluation.stats import Interval
from poster_ml.figures import FRESH, INK, NEUTRAL, new_figure, save_figure


@dataclass(frozen=True)
class ForestRow:
    """One line: its name, what stands beside it (for example "n = 120"), and the estimate."""

    name: str
    interval: Interval
    note: str = ""
    emphasis: bool = False


def draw_forest(
    path: Path, rows: Sequence[ForestRow], *, label: str, title: str, reference: float | None
) -> Path:
    """Draws estimates with their intervals, first row on top.

    Args:
        path: the PNG to write.
        rows: at least one.
        label: of the value axis.
        title: above the plot.
        reference: a vertical line, for example 0.5 for chance or 0 for no difference; None draws none.

    Returns: the path.
    """
    if not rows:
        raise ValueError("a forest plot needs at least one row, got none")
    figure, axes = new_figure(7.2, 1.1 + 0.3 * len(rows))
    axis = axes[0][0]
    positions = np.arange(len(rows))[::-1]
    if reference is not None:
        axis.axvline(reference, color=NEUTRAL, linewidth=1.0)
    for position, row in zip(positions, rows, strict=True):
        colour = FRESH if row.emphasis else INK
        axis.plot([row.interval.low, row.interval.high], [position, position], color=colour, linewidth=1.8)
        axis.plot([row.interval.estimate], [position], marker="o", markersize=5, color=colour)
        value = f"{row.interval.estimate:.3f}" if reference != 0 else f"{row.interval.estimate:+.3f}"
        axis.annotate(
            "   ".join(part for part in (value, row.note) if part),
            (1.02, position),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
        )
    axis.set_yticks(positions, [row.name for row in rows])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(label, fontsize=9)
    axis.set_title(title, loc="left", fontsize=10)
    return save_figure(figure, path)
