"""One look for every figure: colours, sizes, and saving without pyplot's global state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poster_ml.files import atomic_path

FRESH = "#C8502D"  # warm
ROTTEN = "#2C6E9B"  # cold
NEUTRAL = "#6B6B6B"
INK = "#222222"
GRID = "#DDDDDD"
PAPER = "#FFFFFF"


def new_figure(width: float = 6.0, height: float = 4.0, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """Creates a figure that belongs to nobody but the caller.

    Args:
        width, height: inches.
        rows, columns: of axes.

    Returns: the matplotlib Figure and its axes, a 2-D array of shape (rows, columns).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(NEUTRAL)
        axis.tick_params(colors=INK, labelsize=9)
        axis.set_axisbelow(True)
        axis.grid(color=GRID, linewidth=0.6)
    return figure, axes


def diverging_colormap() -> Any:
    """Returns the colour scale of signed maps: cold Rotten, white, warm Fresh."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("rotten_fresh", [ROTTEN, "#F7F7F5", FRESH])


def picture_axis(axis: Any) -> None:
    """Strips an axis that shows a picture of everything but the picture."""
    axis.grid(False)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def save_figure(figure: Any, path: Path) -> Path:
    """Writes the figure as PNG, whole or not at all, and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path
