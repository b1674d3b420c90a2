"""What a study has found, the same for both engines: a table of its trials, what mattered, and figures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from poster_ml.figures import NEUTRAL, new_figure, save_figure
from poster_ml.search_space import SearchSpace
from poster_ml.seeding import derive_seed, generator
from poster_ml.tuning.space import dimensions_of
from poster_ml.tuning.study import OpenStudy

FINISHED = "finished"
PRUNED = "pruned"
FAILED = "failed"
INTERRUPTED = "interrupted"  # not ended: it continues when the command is repeated, unless it runs now
STATES = {
    TrialState.COMPLETE: FINISHED,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: INTERRUPTED,
}
COLUMNS = ("number", "state", "val_auc", "epochs", "seconds", "seed", "error", "ended")
VALUE_LABEL = "validation ROC AUC"
FEWEST_TRIALS = 5  # finished, before anything is said about importance
TREES = 16  # of Optuna's 64: the repeats average over forests


def trials_table(opened: OpenStudy, space: SearchSpace) -> pd.DataFrame:
    """Returns one row per trial that has begun, by number.

    Columns: `COLUMNS`, then one per dimension with what was drawn. `val_auc` is the last one reported where
    the trial was pruned, `epochs` how many it reported, `seconds` and `ended` are empty until it has ended.
    """
    rows = [
        {
            "number": trial.number,
            "state": STATES[trial.state],
            "val_auc": trial.value,
            "epochs": len(trial.intermediate_values),
            "seconds": round(trial.duration.total_seconds(), 3) if trial.duration else None,
            "seed": trial.user_attrs.get("seed"),
            "error": trial.user_attrs.get("error", ""),
            "ended": trial.datetime_complete,
            **trial.params,
        }
        for trial in opened.trials(*STATES)
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, *dimensions_of(space)], dtype=object)


def counted_trials(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the trials that count, in the order of their ends, so that a later end moves no earlier one.

    The column `best_val_auc` is added: the best value of those that had finished by then, pruned ones aside.
    """
    rows = table[table["state"].isin([FINISHED, PRUNED])].sort_values(["ended", "number"])
    values = rows["val_auc"].astype(float)
    return rows.assign(best_val_auc=values.where(rows["state"] == FINISHED).cummax().ffill())


def best_trials(table: pd.DataFrame, count: int) -> list[dict[str, Any]]:
    """Returns the rows of the best finished trials with different settings, best first."""
    finished = table[table["state"] == FINISHED].sort_values("val_auc", ascending=False, kind="stable")
    different = finished.drop_duplicates(list(table.columns[len(COLUMNS) :])).head(count)
    return [{str(key): value for key, value in row.items()} for row in different.to_dict("records")]


def importances(opened: OpenStudy, repeats: int = 30) -> pd.DataFrame:
    """Computes which share of the differences between finished trials each dimension explains (fANOVA).

    Each repeat draws as many trials as there are, with replacement (bootstrap), and fits anew, so
    that the intervals hold what the choice of trials leaves open. Pruned trials have values of
    other epochs: left out.

    Args:
        opened: the study.
        repeats: at least 2.

    Returns: a row per dimension, the most important first: its `share`, the mean over the repeats
        (they sum to 1), and the bounds `low` and `high` of the middle 90 %. No rows where fewer
        than `FEWEST_TRIALS` trials finished, or all have one value.
    """
    finished = opened.trials(TrialState.COMPLETE)
    if len(finished) < FEWEST_TRIALS or len({trial.value for trial in finished}) < 2:
        return pd.DataFrame(columns=["share", "low", "high"])
    draws = generator(0, "importance")
    shares: list[dict[str, float]] = []
    while len(shares) < repeats:
        sample = [finished[index] for index in draws.integers(0, len(finished), len(finished))]
        if len({trial.value for trial in sample}) < 2:
            continue
        study = optuna.create_study(direction="maximize")
        study.add_trials(sample)
        evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=derive_seed(0, "forest", len(shares)))
        shares.append(get_param_importances(study, evaluator=evaluator))
    frame = pd.DataFrame(shares)  # a row per repeat, a column per dimension
    bounds = {"low": frame.quantile(0.05), "high": frame.quantile(0.95)}
    return pd.DataFrame({"share": frame.mean(), **bounds}).sort_values("share", ascending=False)


def draw_figures(opened: OpenStudy, shares: pd.DataFrame, folder: Path) -> None:
    """Draws history.png, slices.png and parallel_coordinates.png, nothing where no trial has finished.

    Args:
        opened: the study; only finished trials are drawn.
        shares: of `importances`; they become importance.png where there are any.
        folder: made where it is missing.
    """
    import matplotlib as mpl
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    study, finished = opened.study, opened.trials(TrialState.COMPLETE)
    if not finished:
        return
    width = len(finished[0].params)
    with mpl.rc_context({"savefig.bbox": "tight"}), warnings.catch_warnings():  # Optuna sets a style for all
        warnings.simplefilter("ignore")  # that the functions are experimental, that a dimension has one value
        mpl.use("agg")
        lines = plots.plot_parallel_coordinate(study, target_name=VALUE_LABEL)
        for axis in lines.figure.axes:
            axis.grid(False)
        figures: tuple[tuple[str, Any, tuple[float, float]], ...] = (
            ("history", plots.plot_optimization_history(study, target_name=VALUE_LABEL), (7.0, 4.5)),
            ("slices", plots.plot_slice(study, target_name=VALUE_LABEL), (3.0 * width + 2.0, 4.0)),
            ("parallel_coordinates", lines, (2.0 * width + 3.0, 5.0)),
        )
        for name, axes, inches in figures:
            figure = np.ravel(axes)[0].figure
            figure.set_size_inches(*inches)
            pyplot.close(figure)
            save_figure(figure, folder / f"{name}.png")
    if len(shares):
        rising = shares[::-1]
        sides = [rising["share"] - rising["low"], rising["high"] - rising["share"]]
        figure, ((axis,),) = new_figure(6.5, 0.5 * width + 1.4)
        axis.barh(rising.index, rising["share"], xerr=sides, color=NEUTRAL, capsize=3)
        axis.set_xlabel("share of the differences between trials, with 90 % intervals")
        save_figure(figure, folder / "importance.png")
