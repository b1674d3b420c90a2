"""Records, importance and figures of studies whose truth is known."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import optuna
import pytest
from matplotlib import pyplot
from optuna.trial import TrialState, create_trial

from poster_ml.config import SearchSpace
from poster_ml.tuning.figures import draw_all, importances
from poster_ml.tuning.records import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    best_so_far,
    epochs_run,
    read_records,
    to_csv,
    top,
)
from poster_ml.tuning.space import dimensions_of, suggest
from poster_ml.tuning.study import StudySpec, open_study
from tests.tuning.surrogates import BEST_AUC, OPTIMUM, curve, landscape


def fill(opened: Any, space: SearchSpace, count: int, only: str = "") -> None:
    """Random trials; with `only`, their value depends on that dimension alone."""
    opened.study.sampler = optuna.samplers.RandomSampler(seed=3)
    for number in range(count):
        trial = opened.study.ask()
        overrides = suggest(trial, space)
        trial.set_user_attr("seed", number)
        for epoch, value in enumerate(curve(overrides, 3, number), start=1):
            trial.report(value, epoch)
        opened.study.tell(trial, trial.params[only] if only else landscape(overrides))


@pytest.fixture
def mixed(spec: StudySpec, space: SearchSpace) -> Any:
    """Trials 0..2 finished (.5, .7, .6), 3 pruned, 4 failed, 5 under way, 6 enqueued."""
    opened = open_study(spec)
    drawn = {"model.dropout": 0.1, "model.unfreeze": 2, "augment.strength": 0.5, "train.learning_rate": 1e-3}
    distributions = {
        "model.dropout": optuna.distributions.FloatDistribution(0.0, 0.8),
        "model.unfreeze": optuna.distributions.IntDistribution(0, 12),
        "augment.strength": optuna.distributions.FloatDistribution(0.0, 1.0),
        "train.learning_rate": optuna.distributions.FloatDistribution(1e-6, 1e-1, log=True),
    }
    rows: list[tuple[TrialState, float | None, dict[str, Any]]] = [
        (TrialState.COMPLETE, 0.5, {}),
        (TrialState.COMPLETE, 0.7, {}),
        (TrialState.COMPLETE, 0.6, {}),
        (TrialState.PRUNED, 0.9, {}),
        (TrialState.FAIL, None, {"error": "it broke"}),
        (TrialState.RUNNING, None, {}),
        (TrialState.WAITING, None, {}),
    ]
    for number, (state, value, notes) in enumerate(rows):
        params = drawn | {"model.dropout": 0.1 * min(number, 2)}
        opened.study.add_trial(
            create_trial(
                state=state,
                value=value,
                params=params,
                distributions=distributions,
                user_attrs=notes,
                intermediate_values={1: 0.5, 2: 0.6},
            )
        )
    return opened


def test_records_tell_the_true_state(mixed: Any, space: SearchSpace) -> None:
    records = read_records(mixed, space)
    assert [record.number for record in records] == [0, 1, 2, 3, 4, 5]
    assert [record.state for record in records] == [FINISHED] * 3 + [PRUNED, FAILED, INTERRUPTED]
    assert [record.counted for record in records] == [True] * 4 + [False] * 2
    assert records[4].error == "it broke"
    assert records[0].epochs == 2
    assert epochs_run(records) == 8


def test_a_pruned_trial_is_never_the_best(mixed: Any, space: SearchSpace) -> None:
    records = read_records(mixed, space)
    assert best_so_far(records) == [(1, 0.5), (2, 0.7), (3, 0.7), (4, 0.7)]
    assert [record.number for record in top(records, 2)] == [1, 2]
    assert [record.number for record in top(records, 9)] == [1, 2, 0]


def test_the_table_holds_every_trial_and_dimension(mixed: Any, space: SearchSpace) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(read_records(mixed, space)))))
    assert len(rows) == 6
    assert rows[1]["state"] == "finished"
    assert float(rows[1]["val_auc"]) == 0.7
    assert float(rows[1]["model.dropout"]) == pytest.approx(0.1)
    assert rows[4]["error"] == "it broke"
    assert rows[5]["val_auc"] == ""


def test_what_alone_decides_is_most_important(mixed: Any, spec: StudySpec, space: SearchSpace) -> None:
    opened = open_study(replace(spec, name="one"))
    fill(opened, space, 30, only="augment.strength")
    shares = importances(opened)
    assert next(iter(shares)) == "augment.strength"
    assert shares["augment.strength"] > 0.8
    assert set(shares) == {dimension.name for dimension in dimensions_of(space)}
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(mixed) == {}, "of three trials nothing can be said"


def test_figures_are_drawn_of_any_study(
    mixed: Any, space: SearchSpace, spec: StudySpec, tmp_path: Path
) -> None:
    style, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    assert draw_all(open_study(replace(spec, name="empty")), tmp_path / "empty") == []
    paths = draw_all(mixed, tmp_path / "mixed")
    assert [path.name for path in paths] == ["history.png", "slices.png", "parallel_coordinates.png"]
    full = open_study(replace(spec, name="full"))
    fill(full, space, 12)
    more = draw_all(full, tmp_path / "full")
    assert [path.name for path in more][3:] == ["importance.png"]
    assert len({path.read_bytes() for path in [*paths, *more]}) == 7
    assert pyplot.get_fignums() == [], "figures are left in memory"
    assert (dict(matplotlib.rcParams), matplotlib.get_backend()) == (style, backend)


def test_the_surrogate_is_best_where_it_says() -> None:
    assert landscape(OPTIMUM) == BEST_AUC
    for key, value in OPTIMUM.items():
        assert landscape(OPTIMUM | {key: value * 1.5}) < BEST_AUC
    line = curve(OPTIMUM, 30, seed=1, noise=0.0)
    assert line == sorted(line)
    assert line[-1] == pytest.approx(BEST_AUC, abs=1e-3)
    assert curve(OPTIMUM, 5, seed=1) == curve(OPTIMUM, 5, seed=1) != curve(OPTIMUM, 5, seed=2)
