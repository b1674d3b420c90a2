"""Figures of a search: Optuna's own, drawn without leaving a trace in matplotlib's global state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState

from poster_ml.figures import INK, ROTTEN, new_figure, save_figure
from poster_ml.tuning.importance import Importance
from poster_ml.tuning.study import OpenStudy

VALUE_LABEL = "validation ROC AUC"


def draw_all(opened: OpenStudy, shares: Sequence[Importance], folder: Path) -> list[Path]:
    """Draws the figures of a search, none where no trial has finished.

    Args:
        opened: the study; its pruned, failed and interrupted trials are in no figure.
        shares: of the importance; empty where it is not known.
        folder: made where it is missing.

    Returns: the files written: history.png, slices.png, parallel_coordinates.png, importance.png.
    """
    from optuna.visualization import matplotlib as plots

    study = opened.study
    finished = [trial for trial in opened.trials() if trial.state == TrialState.COMPLETE]
    if not finished:
        return []
    dimensions = len({name for trial in finished for name in trial.params})
    with _pyplot(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the functions are experimental, that a dimension has one value
        history = plots.plot_optimization_history(study, target_name=VALUE_LABEL)
        history.set_title(f"{len(finished)} finished trials")
        paths = [_save(history, folder / "history.png", 7.0, 4.5)]
        if dimensions:
            slices = plots.plot_slice(study, target_name=VALUE_LABEL)
            paths.append(_save(slices, folder / "slices.png", 3.0 * dimensions + 2.0, 4.0))
            lines = plots.plot_parallel_coordinate(study, target_name=VALUE_LABEL)
            for axis in lines.figure.axes:
                axis.grid(False)
            paths.append(_save(lines, folder / "parallel_coordinates.png", 2.0 * dimensions + 3.0, 5.0))
    if shares:
        paths.append(draw_importance(shares, folder / "importance.png"))
    return paths


def draw_importance(shares: Sequence[Importance], path: Path) -> Path:
    """Draws the importances, the most important on top; by hand, since Optuna's figure has no intervals."""
    figure, axes = new_figure(6.5, 0.5 * len(shares) + 1.4)
    axis = axes[0, 0]
    ordered = list(reversed(shares))
    means = np.asarray([share.mean for share in ordered])
    below = [share.mean - share.low for share in ordered]
    above = [share.high - share.mean for share in ordered]
    axis.barh(range(len(ordered)), means, color=ROTTEN, height=0.6)
    whiskers = np.maximum([below, above], 0.0)
    axis.errorbar(means, range(len(ordered)), xerr=whiskers, fmt="none", ecolor=INK, capsize=3)
    axis.set_yticks(range(len(ordered)), [share.name for share in ordered])
    axis.set_xlabel(
        "share of the variation explained (bar: mean, whisker: 90 % over resampled trials)", fontsize=8
    )
    axis.set_xlim(0.0, 1.0)
    return save_figure(figure, path)


@contextmanager
def _pyplot() -> Iterator[None]:
    """Lets Optuna draw through pyplot without a window, and takes back the style that it sets for all."""
    import matplotlib as mpl

    backend = mpl.get_backend()
    with mpl.rc_context():
        mpl.use("agg")
        mpl.rcParams["savefig.bbox"] = "tight"
        try:
            yield
        finally:
            mpl.use(backend)


def _save(drawn: Any, path: Path, width: float, height: float) -> Path:
    """Writes the figure that one or several axes belong to, and takes it out of pyplot's memory."""
    from matplotlib import pyplot

    figure = np.ravel(drawn)[0].figure
    figure.set_size_inches(width, height)
    pyplot.close(figure)
    return save_figure(figure, path)
