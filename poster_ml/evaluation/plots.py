"""Figures: forest plots of any estimates, those of one evaluation, and the curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from poster_ml.evaluation.calibration import reliability_bins
from poster_ml.evaluation.slices import MINIMUM_POSTERS
from poster_ml.evaluation.stats import Floats, Integers, Interval
from poster_ml.figures import FRESH, GRID, INK, NEUTRAL, ROTTEN, new_figure, save_figure

if TYPE_CHECKING:
    from poster_ml.evaluation.report_files import EvaluationResult

PANELS = {"accuracy": "Accuracy", "loss": "Loss", "auc": "ROC AUC", "learning_rate": "Learning rate"}
# Baselines are told apart by line style too: the page may be printed in grey.
BASELINES = {
    "year": ("year", (0, (1, 2))),
    "genre": ("genres", (0, (4, 3))),
    "year_genre": ("year + genres", (0, (8, 2))),
    "colour": ("colours", (0, (6, 2, 1, 2))),
}


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
    form = form or ("+.3f" if reference == 0 else ".3f")
    same = np.array([False] + [row.name == before.name for before, row in pairwise(rows)])
    heights = -np.cumsum(np.where(same, 0.6, 1.0))
    figure, axes = new_figure(7.2, 1.1 - 0.3 * heights[-1])
    axis = axes[0][0]
    axis.axvline(reference, color=NEUTRAL, linewidth=1.0)
    for row, height in zip(rows, heights, strict=True):
        colour, interval = row.colour, row.interval
        axis.plot([interval.low, interval.high], [height, height], color=colour, linewidth=1.8)
        face = colour if row.filled else "white"
        axis.plot([interval.estimate], [height], "o", markersize=5, color=colour, markerfacecolor=face)
        text = "   ".join(part for part in (f"{interval.estimate:{form}}", row.note) if part)
        beside = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
        axis.annotate(text, (1.02, height), fontsize=8.5, color=colour, **beside)
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


def draw_evaluation(result: EvaluationResult, labels: Integers, probabilities: Floats) -> None:
    """Draws all figures of a split into the result's folder.

    Args:
        result: what is drawn beside the curves; `slices.png` is left out where no slice is large enough.
        labels, probabilities: (N,) checked, as of `metrics.check_predictions`.
    """
    for draw in (_draw_roc, _draw_precision_recall, _draw_confusion_matrix, _draw_calibration):
        draw(result, labels, probabilities)
    _draw_slices(result)


def _draw_roc(result: EvaluationResult, labels: Integers, values: Floats) -> None:
    """The curve, the baselines and the threshold in use."""
    figure, axes = new_figure(5.4, 5.2)
    axis = axes[0][0]
    axis.plot([0, 1], [0, 1], color=GRID, linewidth=1.2)
    for name, scores in result.references.baselines.items():
        text, style = BASELINES[name]
        label = f"{text}: {roc_auc_score(labels, scores):.3f}"
        axis.plot(*roc_curve(labels, scores)[:2], color=ROTTEN, linestyle=style, label=label)
    label = f"poster model: {result.intervals['roc_auc'].text()}"
    axis.plot(*roc_curve(labels, values)[:2], color=FRESH, linewidth=2.0, label=label)
    point = [float((values[labels == label] >= result.threshold).mean()) for label in (0, 1)]
    axis.plot(*point, marker="o", markersize=6, color=FRESH, markeredgecolor=INK)
    text = f"threshold {result.threshold:.2f}"
    axis.annotate(text, point, xytext=(8, -4), textcoords="offset points", va="top", fontsize=8)
    title = f"ROC curve, {len(labels):,} posters"
    _label(axis, "Rotten posters called Fresh", "Fresh posters called Fresh", title)
    axis.legend(loc="lower right", fontsize=8, title=f"ROC AUC ({result.confidence:.0%} interval)")
    save_figure(figure, result.folder / "roc.png")


def _draw_precision_recall(result: EvaluationResult, labels: Integers, values: Floats) -> None:
    """Of Fresh, with the share Fresh as the level that guessing reaches."""
    figure, axes = new_figure(5.4, 4.6)
    axis = axes[0][0]
    share = result.fresh_share
    axis.axhline(share, color=NEUTRAL, linewidth=1.0, label=f"guessing (share Fresh): {share:.3f}")
    for name, scores in result.references.baselines.items():
        text, style = BASELINES[name]
        precision, recall, _ = precision_recall_curve(labels, scores)
        label = f"{text}: {average_precision_score(labels, scores):.3f}"
        axis.step(recall, precision, where="post", color=ROTTEN, linestyle=style, label=label)
    precision, recall, _ = precision_recall_curve(labels, values)
    label = f"poster model: {result.intervals['average_precision'].text()}"
    axis.step(recall, precision, where="post", color=FRESH, linewidth=2.0, label=label)
    title = f"Precision and recall of Fresh, {len(labels):,} posters"
    _label(axis, "recall: Fresh posters found", "precision: called Fresh and are", title)
    axis.set_ylim(0.0, 1.02)
    axis.legend(loc="lower left", fontsize=8, title="average precision")
    save_figure(figure, result.folder / "precision_recall.png")


def _draw_confusion_matrix(result: EvaluationResult, labels: Integers, values: Floats) -> None:
    """Counts, and their shares of the true class, which set the tint."""
    counts = confusion_matrix(labels, values >= result.threshold)
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure, axes = new_figure(4.6, 4.2)
    axis = axes[0][0]
    axis.grid(False)
    tint = LinearSegmentedColormap.from_list("tint", ["#F7F7F5", ROTTEN])
    shown = ConfusionMatrixDisplay(shares, display_labels=["Rotten", "Fresh"])
    shown.plot(ax=axis, cmap=tint, colorbar=False, im_kw={"vmin": 0.0, "vmax": 1.0})
    for text, count, share in zip(shown.text_.flat, counts.flat, shares.flat, strict=True):
        text.set_text(f"{count:,}\n{share:.1%}")
    accuracy = result.intervals["accuracy"].estimate
    _label(axis, "called", "true", f"Accuracy {accuracy:.3f} at threshold {result.threshold:.2f}")
    save_figure(figure, result.folder / "confusion_matrix.png")


def _draw_calibration(result: EvaluationResult, labels: Integers, values: Floats) -> None:
    """The share Fresh by probability with intervals, over a histogram."""
    bins = reliability_bins(labels, values, confidence=result.confidence)
    figure, axes = new_figure(5.4, 5.6, rows=2)
    upper, lower = axes[0][0], axes[1][0]
    upper.get_gridspec().set_height_ratios([3.2, 1])
    upper.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1.0, label="perfect")
    errors = (bins["fresh"] - bins["fresh_ci_low"], bins["fresh_ci_high"] - bins["fresh"])
    upper.errorbar(bins["mean_probability"], bins["fresh"], yerr=errors, fmt="o", color=FRESH, capsize=2)
    ece, brier = (result.intervals[name].estimate for name in ("ece", "brier"))
    title = f"Calibration: ECE {ece:.3f}, Brier {brier:.3f}"
    _label(upper, "", f"share Fresh ({result.confidence:.0%} interval)", title)
    upper.legend(loc="upper left", fontsize=8)
    heights, edges = [values[labels == 0], values[labels == 1]], np.linspace(0.0, 1.0, 16)
    look = {"color": [ROTTEN, FRESH], "edgecolor": "white", "label": ["Rotten", "Fresh"]}
    lower.hist(heights, bins=edges, stacked=True, **look)
    _label(lower, "probability of Fresh", "posters", "")
    # Above the bars, which leave no place that is free for sure.
    above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1}
    lower.legend(fontsize=8, ncols=2, frameon=False, **above)
    save_figure(figure, result.folder / "calibration.png")


def _draw_slices(result: EvaluationResult) -> None:
    shown = result.slices[result.slices["roc_auc"].notna() & (result.slices["posters"] >= MINIMUM_POSTERS)]
    rows = [
        ForestRow(
            f"{row['slice']}: {row['value']}",
            Interval.of(row, "roc_auc"),
            f"n = {row['posters']:,}",
            FRESH if worst else INK,
        )
        for row, worst in zip(shown.to_dict("records"), shown.index.isin(result.worst.index), strict=True)
    ]
    if rows:
        draw_forest(
            result.folder / "slices.png",
            rows,
            label=f"ROC AUC with {result.confidence:.0%} interval (line: all posters)",
            title="ROC AUC by slice" + ("" if result.worst.empty else "; the worst are coloured"),
            reference=result.intervals["roc_auc"].estimate,
        )


def _label(axis: Any, x: str, y: str, title: str) -> None:
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.set_title(title, loc="left", fontsize=10)


def draw_training_curves(
    path: Path,
    history: Sequence[Mapping[str, float]],
    *,
    best_epoch: int,
    majority_accuracy: float,
    title: str,
) -> Path:
    """Draws `accuracy_loss.png`: training and validation, one panel per metric.

    Args:
        path: the PNG to write.
        history: one mapping per epoch, first epoch first, with accuracy, val_accuracy, loss,
            val_loss, auc, val_auc and learning_rate; NaN leaves a gap.
        best_epoch: counted from 1.
        majority_accuracy: of the validation posters, in [0, 1].
        title: above the panels.

    Returns: the path.
    """
    table = pd.DataFrame(list(history), index=range(1, len(history) + 1))
    figure, axes = new_figure(8.6, 6.5, rows=2, columns=2)  # four in a row cannot be read on a phone
    references = {"accuracy": (majority_accuracy, "majority"), "auc": (0.5, "chance")}
    for axis, (key, heading) in zip(axes.flat, PANELS.items(), strict=True):
        axis.axvline(best_epoch, color=GRID, linewidth=5, zorder=0, label=f"kept: epoch {best_epoch}")
        for column, name, colour in ((key, "train", NEUTRAL), (f"val_{key}", "validation", FRESH)):
            if column in table:
                marker = "o" if len(table) <= 3 else None
                axis.plot(table.index, table[column], color=colour, linewidth=1.8, marker=marker, label=name)
        if key in references:
            level, name = references[key]
            axis.axhline(level, color=ROTTEN, linewidth=1.0, linestyle="--", label=f"{name} {level:.3f}")
        if key == "learning_rate":
            axis.set_yscale("log")
        else:
            axis.legend(fontsize=8)
        axis.set_title(heading, loc="left", fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.set_xlim(0.5, len(table) + 0.5)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return save_figure(figure, path)
