"""Training curves: accuracy, loss, AUC and learning rate by epoch, with the epoch that was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from poster_ml.figures import FRESH, GRID, NEUTRAL, ROTTEN, new_figure, save_figure

PANELS = {"accuracy": "Accuracy", "loss": "Loss", "auc": "ROC AUC", "learning_rate": "Learning rate"}


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
    import pandas
    from matplotlib.ticker import MaxNLocator

    if not history:
        raise ValueError("history must have at least one epoch, got none")
    table = pandas.DataFrame(list(history), index=range(1, len(history) + 1)).dropna(axis=1, how="all")
    panels = [key for key in PANELS if {key, f"val_{key}"} & set(table.columns)] or ["loss"]
    # At most two side by side: four in a row cannot be read on a phone.
    rows, columns = -(-len(panels) // 2), min(2, len(panels))
    figure, axes = new_figure(4.3 * columns, 3.1 * rows + 0.3, rows=rows, columns=columns)
    for spare in axes.flat[len(panels) :]:
        spare.set_visible(False)
    references = {"accuracy": (majority_accuracy, "majority"), "auc": (0.5, "chance")}
    for axis, key in zip(axes.flat, panels, strict=False):
        if best_epoch is not None:
            axis.axvline(best_epoch, color=GRID, linewidth=5, zorder=0, label=f"kept: epoch {best_epoch}")
        for column, name, colour in ((key, "train", NEUTRAL), (f"val_{key}", "validation", FRESH)):
            if column in table:
                marker = "o" if len(table) <= 3 else None
                axis.plot(table.index, table[column], color=colour, linewidth=1.8, marker=marker, label=name)
        level, name = references.get(key, (None, ""))
        if level is not None:
            axis.axhline(level, color=ROTTEN, linewidth=1.0, linestyle="--", label=f"{name} {level:.3f}")
        if key == "learning_rate":
            axis.set_yscale("log")
        else:
            axis.legend(fontsize=8)
        axis.set_title(PANELS[key], loc="left", fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.set_xlim(0.5, len(table) + 0.5)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return save_figure(figure, path)
