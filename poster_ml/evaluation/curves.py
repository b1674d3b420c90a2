"""Training curves: accuracy, loss, AUC and learning rate by epoch, with the epoch that was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.figures import FRESH, GRID, INK, NEUTRAL, PAPER, ROTTEN, new_figure, save_figure

PANELS = (("accuracy", "Accuracy"), ("loss", "Loss"), ("auc", "ROC AUC"))


def draw_training_curves(
    path: Path,
    history: Sequence[Mapping[str, float]],
    *,
    best_epoch: int | None,
    majority_accuracy: float | None,
    title: str = "",
) -> Path:
    """Draws `accuracy_loss.png`: training and validation, one panel per metric.

    Args:
        path: the PNG to write.
        history: one mapping per epoch, first epoch first, with any of accuracy, val_accuracy, loss, val_loss,
            auc, val_auc, learning_rate; missing or NaN values leave a gap.
        best_epoch: counted from 1; None draws no mark.
        majority_accuracy: of the validation posters, in [0, 1]; None draws no line.
        title: above the panels.

    Returns: the path.
    """
    if not history:
        raise ValueError("history must have at least one epoch, got none")
    panels = [(key, label) for key, label in PANELS if _has(history, key) or _has(history, f"val_{key}")]
    has_rate = _has(history, "learning_rate")
    # At most two side by side: four in a row cannot be read on a phone.
    count = max(1, len(panels) + has_rate)
    rows, columns = -(-count // 2), min(2, count)
    figure, axes = new_figure(4.3 * columns, 3.1 * rows + 0.3, rows=rows, columns=columns)
    places = list(axes.flat)
    for spare in places[count:]:
        spare.set_visible(False)
    epochs = np.arange(1, len(history) + 1)
    for axis, (key, label) in zip(places, panels, strict=False):
        _draw_panel(axis, epochs, history, key)
        axis.set_title(label, loc="left", fontsize=10, color=INK)
        if key == "accuracy" and majority_accuracy is not None:
            _reference(axis, majority_accuracy, f"majority {majority_accuracy:.3f}")
        if key == "auc":
            _reference(axis, 0.5, "chance .5")
        _mark_kept(axis, epochs, history, key, best_epoch)
    if has_rate:
        axis = places[len(panels)]
        axis.step(epochs, _values(history, "learning_rate"), where="mid", color=NEUTRAL, linewidth=1.6)
        axis.set_yscale("log")
        axis.set_title("Learning rate (logarithmic)", loc="left", fontsize=10, color=INK)
    for axis in places[:count]:
        _epoch_axis(axis, len(history))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return save_figure(figure, path)


def _has(history: Sequence[Mapping[str, float]], key: str) -> bool:
    return bool(np.isfinite(_values(history, key)).any())


def _values(history: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
    return np.array([float(epoch.get(key, np.nan)) for epoch in history])


def _draw_panel(axis: Any, epochs: np.ndarray, history: Sequence[Mapping[str, float]], key: str) -> None:
    """Draws both curves and names them at their last point, apart where the ends meet."""
    curves = [
        ("train", _values(history, key), NEUTRAL),
        ("validation", _values(history, f"val_{key}"), FRESH),
    ]
    curves = [curve for curve in curves if np.isfinite(curve[1]).any()]
    marker = "o" if len(epochs) <= 3 else None
    for _, values, colour in curves:
        axis.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=4)
    last = [values[np.isfinite(values)][-1] for _, values, _ in curves]
    for position, (name, values, colour) in enumerate(curves):
        above = last[position] >= max(last) and (position == 0 or last[position] > last[0])
        end = epochs[np.flatnonzero(np.isfinite(values))[-1]]
        axis.annotate(
            name,
            (end, last[position]),
            xytext=(0, 6 if above or len(curves) == 1 else -6),
            textcoords="offset points",
            ha="right",
            va="bottom" if above or len(curves) == 1 else "top",
            fontsize=9,
            color=colour,
        )
    axis.margins(y=0.16)


def _reference(axis: Any, value: float, text: str) -> None:
    axis.axhline(value, color=ROTTEN, linewidth=1.0, linestyle=(0, (4, 3)))
    axis.annotate(
        text,
        (0.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(3, 2),
        textcoords="offset points",
        fontsize=8,
        color=ROTTEN,
        va="bottom",
        bbox={"facecolor": PAPER, "alpha": 0.85, "edgecolor": "none", "pad": 0.5},
    )


def _mark_kept(
    axis: Any,
    epochs: np.ndarray,
    history: Sequence[Mapping[str, float]],
    key: str,
    best_epoch: int | None,
) -> None:
    if best_epoch is None or not 1 <= best_epoch <= len(epochs):
        return
    value = _values(history, f"val_{key}")[best_epoch - 1]
    axis.axvline(best_epoch, color=GRID, linewidth=5, zorder=0)
    if np.isfinite(value):
        axis.plot([best_epoch], [value], marker="o", markersize=6, color=FRESH, markeredgecolor=INK)
    # Just above the axis of epochs: above the panel it would run into the panel's name.
    late = best_epoch > 0.6 * len(epochs)
    axis.annotate(
        f"kept: epoch {best_epoch}",
        (best_epoch, 0.0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if late else 5, 3),
        textcoords="offset points",
        ha="right" if late else "left",
        fontsize=8,
        color=INK,
        va="bottom",
    )


def _epoch_axis(axis: Any, epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("epoch", fontsize=9, color=INK)
    axis.set_xlim(0.5, epochs + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
