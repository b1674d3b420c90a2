"""Table, importance and figures of studies whose truth is known."""

from dataclasses import replace
from typing import Any

import matplotlib
import optuna
import pandas as pd
import pytest
from matplotlib import pyplot

from poster_ml.search_space import SearchSpace
from poster_ml.tuning.results import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    best_trials,
    counted_trials,
    draw_figures,
    importances,
    trials_table,
)
from poster_ml.tuning.space import dimensions_of, suggest
from poster_ml.tuning.study import open_study


def fill(opened: Any, space: SearchSpace, ends: list[Any]) -> None:
    """Random trials that end as is said; the name of a dimension: with its value; None: under way."""
    opened.study.sampler = optuna.samplers.RandomSampler(seed=3)
    for end in ends:
        trial = opened.study.ask()
        suggest(trial, space)
        trial.report(0.9, 1)
        if end is not None:
            opened.tell(trial, {"value": trial.params[end]} if isinstance(end, str) else end)


@pytest.fixture
def mixed(spec, space):
    """Trials 0..2 finished, 3 pruned, 4 failed, 5 under way, 6 enqueued."""
    opened = open_study(spec)
    ends = [{"value": 0.5}, {"value": 0.7}, {"value": 0.6}, {}, {"error": "it broke"}, None]
    fill(opened, space, ends)
    opened.study.enqueue_trial({"model.dropout": 0.1})
    return opened


def test_the_table_tells_the_true_state_and_the_best(mixed, space, spec):
    table = trials_table(mixed, space)
    assert list(table["number"]) == [0, 1, 2, 3, 4, 5]
    assert list(table["state"]) == [FINISHED] * 3 + [PRUNED, FAILED, INTERRUPTED]
    assert list(table["error"]) == [""] * 4 + ["it broke", ""]
    assert list(table["val_auc"].fillna(0)) == [0.5, 0.7, 0.6, 0.9, 0, 0]
    assert list(table["epochs"]) == [1] * 6
    assert dict(table.iloc[0][-4:]) == mixed.trials()[0].params
    assert list(counted_trials(table)["best_val_auc"]) == [0.5, 0.7, 0.7, 0.7], (
        "a pruned trial is never the best"
    )
    assert [best["number"] for best in best_trials(table, 2)] == [1, 2]
    twice = pd.concat([table, table.iloc[[1]]])
    assert [best["number"] for best in best_trials(twice, 9)] == [1, 2, 0], "different settings"
    empty = trials_table(open_study(replace(spec, name="empty")), space)
    assert (len(empty), len(counted_trials(empty)), best_trials(empty, 1)) == (0, 0, [])


def test_importances_hold_what_alone_decides_and_figures_are_drawn_of_any_study(mixed, space, spec, tmp_path):
    opened = open_study(replace(spec, name="one"))
    fill(opened, space, ["augment.strength"] * 20)
    shares = importances(opened, repeats=10)
    assert shares.index[0] == "augment.strength"
    assert set(shares.index) == set(dimensions_of(space))
    assert shares["share"].sum() == pytest.approx(1)
    assert shares["low"].iloc[0] > 0.7
    assert all(shares["low"] < shares["share"])
    assert all(shares["share"] < shares["high"])
    none = importances(mixed)
    assert len(none) == 0, "of three trials nothing can be said"

    style = dict(matplotlib.rcParams)
    for study, found, names in (
        (open_study(replace(spec, name="empty")), none, set()),
        (mixed, none, {"history.png", "slices.png", "parallel_coordinates.png"}),
        (opened, shares, {"history.png", "slices.png", "parallel_coordinates.png", "importance.png"}),
    ):
        folder = tmp_path / study.spec.name
        draw_figures(study, found, folder)
        paths = list(folder.glob("*"))
        assert {path.name for path in paths} == names
        assert len({path.read_bytes() for path in paths}) == len(names)
    assert pyplot.get_fignums() == [], "figures are left in memory"
    changed = {key for key, value in matplotlib.rcParams.items() if style[key] != value}
    assert changed <= {"backend"}
