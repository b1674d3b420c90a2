"""Figures of a search: history, slices, parallel coordinates, importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.config import SearchSpace
from poster_ml.figures import FRESH, INK, NEUTRAL, ROTTEN, diverging_colormap, new_figure, save_figure
from poster_ml.tuning.importance import Importance
from poster_ml.tuning.records import FAILED, FINISHED, PRUNED, TrialRecord, best_so_far, by_end
from poster_ml.tuning.space import Dimension, dimensions_of

VALUE_LABEL = "validation ROC AUC"


def draw_all(
    records: Sequence[TrialRecord], space: SearchSpace, shares: Sequence[Importance], folder: Path
) -> list[Path]:
    """Draws every figure that the records allow; the importance only where there are shares.

    Returns: the files written: history.png, slices.png, parallel_coordinates.png, importance.png.
    """
    paths = [draw_history(records, folder / "history.png")]
    if any(record.counted and record.drawn for record in records):
        paths.append(draw_slices(records, space, folder / "slices.png"))
        paths.append(draw_parallel(records, space, folder / "parallel_coordinates.png"))
    if shares:
        paths.append(draw_importance(shares, folder / "importance.png"))
    return paths


def draw_history(records: Sequence[TrialRecord], path: Path) -> Path:
    """Draws each counted trial's value and the best so far, in the order of the budget."""
    figure, axes = new_figure(7.0, 4.0)
    axis = axes[0, 0]
    counted = by_end([record for record in records if record.counted])
    for state, colour, label in ((FINISHED, ROTTEN, "finished"), (PRUNED, NEUTRAL, "pruned, last value")):
        points = [
            (position, record.value)
            for position, record in enumerate(counted, start=1)
            if record.state == state and record.value is not None
        ]
        if points:
            axis.scatter(*zip(*points, strict=True), s=26, color=colour, label=label, zorder=3)
    line = best_so_far(records)
    if line:
        axis.step(*zip(*line, strict=True), where="post", color=FRESH, label="best so far")
    failed = sum(record.state == FAILED for record in records)
    axis.set_title(f"{len(counted)} counted trials, {failed} failed", fontsize=10, color=INK)
    axis.set_xlabel("counted trial")
    axis.set_ylabel(VALUE_LABEL)
    if counted:
        axis.legend(frameon=False, fontsize=9)
    return save_figure(figure, path)


def draw_slices(records: Sequence[TrialRecord], space: SearchSpace, path: Path) -> Path:
    """Draws the value against each dimension, one panel each; pruned trials are hollow."""
    dimensions = dimensions_of(space)
    columns = min(3, len(dimensions))
    rows = math.ceil(len(dimensions) / columns)
    figure, axes = new_figure(3.4 * columns, 2.9 * rows, rows, columns)
    for axis, dimension in zip(axes.flat, dimensions, strict=False):
        for state, filled in ((PRUNED, False), (FINISHED, True)):
            chosen = [
                r for r in records if r.state == state and dimension.name in r.drawn and r.value is not None
            ]
            places = [_place(dimension, record.drawn[dimension.name]) for record in chosen]
            axis.scatter(
                places,
                [record.value for record in chosen],
                s=22,
                facecolors=ROTTEN if filled else "none",
                edgecolors=ROTTEN if filled else NEUTRAL,
                linewidths=0.8,
            )
        _scale(axis.xaxis, axis.set_xlim, dimension)
        axis.set_xlabel(dimension.name, fontsize=9)
    for axis in axes.flat[len(dimensions) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(VALUE_LABEL, fontsize=9)
    return save_figure(figure, path)


def draw_parallel(records: Sequence[TrialRecord], space: SearchSpace, path: Path) -> Path:
    """Draws one line per finished trial across all dimensions, coloured by its value; pruned ones grey."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    dimensions = dimensions_of(space)
    figure, axes = new_figure(max(6.0, 1.6 * len(dimensions) + 1.5), 4.2)
    axis = axes[0, 0]
    finished = [record for record in records if record.state == FINISHED and record.value is not None]
    values = [record.value or 0.0 for record in finished]
    norm = Normalize(min(values, default=0.0), max(values, default=1.0))
    for record in [record for record in records if record.state == PRUNED] + sorted(finished, key=_by_value):
        if not all(dimension.name in record.drawn for dimension in dimensions):
            continue
        heights = [_height(dimension, record.drawn[dimension.name]) for dimension in dimensions]
        pruned = record.state == PRUNED
        colour = NEUTRAL if pruned else diverging_colormap()(norm(_by_value(record)))
        axis.plot(range(len(dimensions)), heights, color=colour, alpha=0.25 if pruned else 0.9, linewidth=1.2)
    for position, dimension in enumerate(dimensions):
        for height, text in _ends(dimension):
            axis.annotate(
                text,
                (position, height),
                fontsize=7.5,
                color=INK,
                ha="left",
                xytext=(3, 0),
                textcoords="offset points",
            )
    axis.set_xticks(
        range(len(dimensions)), [dimension.name for dimension in dimensions], rotation=20, ha="right"
    )
    axis.set_yticks([])
    axis.set_ylim(-0.05, 1.05)
    if finished:
        figure.colorbar(ScalarMappable(norm, diverging_colormap()), ax=axis, label=VALUE_LABEL)
    return save_figure(figure, path)


def draw_importance(shares: Sequence[Importance], path: Path) -> Path:
    """Draws the importances with their intervals, the most important on top."""
    figure, axes = new_figure(6.5, 0.5 * len(shares) + 1.4)
    axis = axes[0, 0]
    ordered = list(reversed(shares))
    means = np.asarray([share.mean for share in ordered])
    errors = np.asarray(
        [[share.mean - share.low for share in ordered], [share.high - share.mean for share in ordered]]
    )
    axis.barh(range(len(ordered)), means, color=ROTTEN, height=0.6)
    axis.errorbar(means, range(len(ordered)), xerr=np.maximum(errors, 0.0), fmt="none", ecolor=INK, capsize=3)
    axis.set_yticks(range(len(ordered)), [share.name for share in ordered])
    axis.set_xlabel(
        "share of the variation explained (bar: mean, whisker: 90 % over resampled trials)", fontsize=8
    )
    axis.set_xlim(0.0, 1.0)
    return save_figure(figure, path)


def _by_value(record: TrialRecord) -> float:
    return record.value or 0.0


def _place(dimension: Dimension, value: Any) -> float:
    return float(dimension.choices.index(value)) if dimension.kind == "choice" else float(value)


def _height(dimension: Dimension, value: Any) -> float:
    """Returns where a value lies between the ends of its dimension, in [0, 1]."""
    if dimension.kind == "choice":
        return dimension.choices.index(value) / max(1, len(dimension.choices) - 1)
    low, high, place = dimension.low, dimension.high, float(value)
    if dimension.log:
        low, high, place = math.log(low), math.log(high), math.log(place)
    return (place - low) / (high - low)


def _ends(dimension: Dimension) -> list[tuple[float, str]]:
    """Returns what is written along an axis of the parallel coordinates: (height, text)."""
    if dimension.kind == "choice":
        return [(_height(dimension, choice), str(choice)) for choice in dimension.choices]
    return [(0.0, f"{dimension.low:g}"), (1.0, f"{dimension.high:g}")]


def _scale(ticks: Any, set_limits: Any, dimension: Dimension) -> None:
    if dimension.kind == "choice":
        ticks.set_ticks(range(len(dimension.choices)), [str(choice) for choice in dimension.choices])
        set_limits(-0.5, len(dimension.choices) - 0.5)
        return
    if dimension.log:
        ticks.axes.set_xscale("log")
    set_limits(dimension.low, dimension.high)
