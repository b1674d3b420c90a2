"""The figures of one set of predictions: ROC, precision-recall, confusion matrix, reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.calibration import reliability_bins
from poster_ml.evaluation.metrics import check_predictions, score
from poster_ml.evaluation.stats import Floats, Integers, Interval, bootstrap_weights
from poster_ml.figures import FRESH, GRID, INK, NEUTRAL, ROTTEN, new_figure, save_figure

BAND_REPEATS = 300  # a shaded band needs fewer resamples than a printed interval
GRID_POINTS = np.linspace(0.0, 1.0, 101)
BASELINE_LABELS = {"year": "year", "genre": "genres", "year_genre": "year + genres", "colour": "colours"}
# Told apart by line style too: the page may be printed in grey.
BASELINE_STYLES = {
    "year": (0, (1, 2)),
    "genre": (0, (4, 3)),
    "year_genre": (0, (8, 2)),
    "colour": (0, (6, 2, 1, 2)),
}


def draw_roc(
    path: Path,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    auc: Interval,
    baselines: Mapping[str, Floats],
    threshold: float,
    confidence: float,
    seed: int,
) -> Path:
    """Draws `roc.png` with a bootstrap band, the metadata baselines and the threshold in use.

    Args:
        path: the PNG to write.
        labels, probabilities: (N,) as in `metrics.score`.
        auc: ROC AUC with its interval, shown in the label.
        baselines: probabilities (N,) by name (a key of BASELINE_LABELS); may be empty.
        threshold: marked as a point.
        confidence: of the band, pointwise.
        seed: of the band's resamples.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    truth, values = check_predictions(labels, probabilities)
    figure, axes = new_figure(5.4, 5.2)
    axis = axes[0][0]
    low, high = _roc_band(truth, values, confidence, seed)
    axis.fill_between(GRID_POINTS, low, high, color=FRESH, alpha=0.16, linewidth=0)
    axis.plot([0, 1], [0, 1], color=GRID, linewidth=1.2)
    for name, scores in baselines.items():
        false_fresh, true_fresh, _ = roc_curve(truth, scores)
        text = f"{BASELINE_LABELS[name]}: {roc_auc_score(truth, scores):.3f}"
        axis.plot(
            false_fresh, true_fresh, color=ROTTEN, linewidth=1.2, linestyle=BASELINE_STYLES[name], label=text
        )
    false_fresh, true_fresh, _ = roc_curve(truth, values)
    text = f"poster model: {auc.text()}"
    axis.plot(false_fresh, true_fresh, color=FRESH, linewidth=2.0, label=text)
    called = values >= threshold
    point = (float(called[truth == 0].mean()), float(called[truth == 1].mean()))
    axis.plot(*point, marker="o", markersize=6, color=FRESH, markeredgecolor=INK)
    axis.annotate(
        f"threshold {threshold:.2f}", point, xytext=(8, -4), textcoords="offset points", va="top", fontsize=8
    )
    _unit_square(axis)
    axis.set_xlabel("Rotten posters called Fresh", fontsize=9)
    axis.set_ylabel("Fresh posters called Fresh", fontsize=9)
    axis.set_title(f"ROC curve, {len(truth):,} posters", loc="left", fontsize=10)
    legend = axis.legend(loc="lower right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
    legend.set_title(f"ROC AUC ({confidence:.0%} interval)", prop={"size": 8})
    return save_figure(figure, path)


def _roc_band(labels: Integers, values: Floats, confidence: float, seed: int) -> tuple[Floats, Floats]:
    """Returns the ends of the true-Fresh rate at each false-Fresh rate of GRID_POINTS."""
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(values[order]) < 0, True])  # ties move both rates at once
    fresh = labels[order] == 1
    curves = []
    for weights in bootstrap_weights(labels, BAND_REPEATS, seed):
        ordered = weights[:, order]
        for row in ordered:
            true_fresh = np.cumsum(row * fresh)[ends]
            false_fresh = np.cumsum(row * ~fresh)[ends]
            x = np.r_[0.0, false_fresh / false_fresh[-1]]
            y = np.r_[0.0, true_fresh / true_fresh[-1]]
            curves.append(np.interp(GRID_POINTS, x, y))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.array(curves), [tail, 1.0 - tail], axis=0)
    return low, high


def draw_precision_recall(
    path: Path,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    average_precision: Interval,
    baselines: Mapping[str, Floats],
) -> Path:
    """Draws `precision_recall.png` of Fresh, with the share Fresh as the level that guessing reaches.

    Arguments as `draw_roc`; `average_precision` with its interval is shown in the label.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth, values = check_predictions(labels, probabilities)
    share = float(truth.mean())
    figure, axes = new_figure(5.4, 4.6)
    axis = axes[0][0]
    axis.axhline(share, color=NEUTRAL, linewidth=1.0)
    axis.annotate(
        f"guessing: {share:.3f} (share Fresh)", (0.01, share), xytext=(0, -3), textcoords="offset points",
        va="top", fontsize=8, color=NEUTRAL,
    )  # fmt: skip
    for name, scores in baselines.items():
        precision, recall, _ = precision_recall_curve(truth, scores)
        text = f"{BASELINE_LABELS[name]}: {average_precision_score(truth, scores):.3f}"
        axis.step(
            recall, precision, where="post", color=ROTTEN, linewidth=1.2,
            linestyle=BASELINE_STYLES[name], label=text,
        )  # fmt: skip
    precision, recall, _ = precision_recall_curve(truth, values)
    text = f"poster model: {average_precision.text()}"
    axis.step(recall, precision, where="post", color=FRESH, linewidth=2.0, label=text)
    _unit_square(axis)
    axis.set_xlabel("recall: Fresh posters found", fontsize=9)
    axis.set_ylabel("precision: called Fresh and are", fontsize=9)
    axis.set_title(f"Precision and recall of Fresh, {len(truth):,} posters", loc="left", fontsize=10)
    legend = axis.legend(loc="lower left", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
    legend.set_title("average precision", prop={"size": 8})
    return save_figure(figure, path)


def draw_confusion_matrix(
    path: Path, labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, threshold: float
) -> Path:
    """Draws `confusion_matrix.png`: counts, and their shares of the true class, which set the tint."""
    from matplotlib.colors import LinearSegmentedColormap

    truth, values = check_predictions(labels, probabilities)
    called = (values >= threshold).astype(np.int64)
    counts = np.zeros((2, 2), dtype=np.int64)
    np.add.at(counts, (truth, called), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure, axes = new_figure(4.6, 4.2)
    axis = axes[0][0]
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.imshow(shares, cmap=LinearSegmentedColormap.from_list("tint", ["#F7F7F5", ROTTEN]), vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            colour = "white" if shares[row, column] > 0.6 else INK
            axis.text(column, row - 0.06, f"{counts[row, column]:,}", ha="center", fontsize=16, color=colour)
            axis.text(
                column, row + 0.16, f"{shares[row, column]:.1%}", ha="center", fontsize=10, color=colour
            )
    totals = counts.sum(axis=1)
    axis.set_xticks([0, 1], ["called Rotten", "called Fresh"])
    axis.set_yticks([0, 1], [f"Rotten\n({totals[0]:,})", f"Fresh\n({totals[1]:,})"])
    axis.tick_params(length=0)
    accuracy = float(np.trace(counts) / counts.sum())
    axis.set_title(f"Accuracy {accuracy:.3f} at threshold {threshold:.2f}", loc="left", fontsize=10)
    return save_figure(figure, path)


def draw_calibration(
    path: Path, labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, confidence: float
) -> Path:
    """Draws `calibration.png`: share Fresh by probability with intervals, over a histogram."""
    truth, values = check_predictions(labels, probabilities)
    bins = reliability_bins(truth, values, confidence=confidence)
    figure, axes = new_figure(5.4, 5.6, rows=2)
    figure.get_layout_engine().set(hspace=0.04)
    upper, lower = axes[0][0], axes[1][0]
    upper.get_gridspec().set_height_ratios([3.2, 1])
    upper.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1.0)
    upper.annotate(
        "perfect",
        (0.05, 0.05),
        xytext=(6, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=NEUTRAL,
    )
    x = np.array([item.mean_probability for item in bins])
    shares = np.array([item.fresh.estimate for item in bins])
    ends = np.array([[item.fresh.low, item.fresh.high] for item in bins]).T
    errors = np.abs(ends - shares)
    upper.errorbar(
        x, shares, yerr=errors, fmt="o", color=FRESH, ecolor=FRESH, elinewidth=1.2, markersize=5, capsize=2
    )
    metrics = score(truth, values)
    upper.set_title(
        f"Calibration: ECE {metrics['ece']:.3f}, Brier {metrics['brier']:.3f}", loc="left", fontsize=10
    )
    upper.set_ylabel(f"share Fresh ({confidence:.0%} interval)", fontsize=9)
    _unit_square(upper)
    edges = np.linspace(0.0, 1.0, 16)
    heights = [values[truth == 0], values[truth == 1]]
    lower.hist(heights, bins=edges, stacked=True, color=[ROTTEN, FRESH], edgecolor="white", linewidth=0.5)
    lower.set_xlim(-0.01, 1.01)
    lower.set_xlabel("probability of Fresh", fontsize=9)
    lower.set_ylabel("posters", fontsize=9)
    for offset, (text, colour) in enumerate([("Fresh", FRESH), ("Rotten", ROTTEN)]):
        right = float(np.mean(values)) < 0.5
        lower.annotate(
            text, (0.99 if right else 0.01, 0.93 - 0.2 * offset), xycoords="axes fraction", va="top",
            ha="right" if right else "left", fontsize=9, color=colour,
        )  # fmt: skip
    return save_figure(figure, path)


def _unit_square(axis: Any) -> None:
    axis.set_xlim(-0.01, 1.01)
    axis.set_ylim(-0.01, 1.01)
    axis.tick_params(colors=INK)
