"""Figures of a search: Optuna's own, drawn without leaving a trace in matplotlib's global state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from poster_ml.figures import save_figure
from poster_ml.tuning.study import OpenStudy

VALUE_LABEL = "validation ROC AUC"
FEWEST_TRIALS = 5  # finished, before anything is said about importance


def importances(opened: OpenStudy) -> dict[str, float]:
    """Returns which share of the differences between finished trials each dimension explains (fANOVA).

    Returns: shares that sum to 1, the largest first; empty where fewer than `FEWEST_TRIALS` trials finished,
        or all have one value. Pruned trials stay out: their values are of other epochs.
    """
    finished = opened.trials(TrialState.COMPLETE)
    if len(finished) < FEWEST_TRIALS or len({trial.value for trial in finished}) < 2:
        return {}
    return get_param_importances(opened.study, evaluator=FanovaImportanceEvaluator(seed=0))


def draw_all(opened: OpenStudy, folder: Path) -> list[Path]:
    """Draws the figures of a search, none where no trial has finished.

    Args:
        opened: the study; its pruned, failed and interrupted trials are in no figure.
        folder: made where it is missing.

    Returns: the files written: history.png, slices.png, parallel_coordinates.png, importance.png.
    """
    from optuna.visualization import matplotlib as plots

    study = opened.study
    finished = opened.trials(TrialState.COMPLETE)
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
        if importances(opened):
            evaluator = FanovaImportanceEvaluator(seed=0)
            shares = plots.plot_param_importances(study, evaluator=evaluator, target_name=VALUE_LABEL)
            paths.append(_save(shares, folder / "importance.png", 6.5, 0.5 * dimensions + 1.4))
    return paths


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
