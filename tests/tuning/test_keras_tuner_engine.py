from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poster_ml.config import SearchSpace, parse_space
from poster_ml.errors import TuningError
from poster_ml.tuning.records import read_records
from poster_ml.tuning.study import StudySpec, open_study
from poster_ml.tuning.work import DONE, LATE, Job
from tests.tuning.surrogates import SurrogateObjective, landscape

CNN = {
    "variant": "basic_cnn",
    "parameters": {
        "model.filters": {
            "role": "scientific", "type": "filters", "blocks": [2, 5], "first": [8, 48], "growth": [1.0, 1.5, 2.0],
        },
        "model.dense": {"role": "scientific", "type": "categorical", "choices": [[64], [128, 128]]},
        "model.dropout": {"role": "scientific", "type": "float", "low": 0.0, "high": 0.6, "step": 0.05},
        "train.learning_rate": {"role": "nuisance", "type": "log", "low": 1e-5, "high": 1e-2},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Any:
    """KerasTuner brings Keras with it: imported once, and only here."""
    from poster_ml.tuning import keras_tuner_engine

    return keras_tuner_engine


class Walks:
    """Notes what it is asked for; its value depends on the settings alone."""

    def __init__(self, stop_at: int = 10**6, break_at: tuple[int, ...] = ()) -> None:
        self.asked: list[Any] = []
        self.stop_at, self.break_at = stop_at, break_at

    def __call__(self, trial: Any) -> float:
        self.asked.append(trial)
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        if len(self.asked) in self.break_at:
            raise RuntimeError("no such luck")
        epochs = trial.overrides.get("train.epochs", 1)
        assert trial.report(epochs, 0.5) is False, "Hyperband stops by rounds, the pruner never"
        return landscape(trial.overrides) + epochs / 1000


def drawn(opened: Any, space: SearchSpace) -> list[Any]:
    return [
        (record.drawn, record.notes.get("more_overrides"))
        for record in read_records(opened, space)
        if record.counted
    ]


def test_hyperband_promotes_the_better_into_the_same_folder(
    engine: Any, spec: StudySpec, tmp_path: Path
) -> None:
    space = parse_space(CNN, "cnn")
    spec = replace(spec, epochs=9)
    opened, walks = open_study(spec), Walks()
    assert engine.run_keras_tuner(Job(spec, space, walks, 16, tmp_path), opened) == DONE
    records = read_records(opened, space)
    assert sum(record.counted for record in records) == 16
    promoted = [trial for trial in walks.asked if trial.root != trial.number]
    assert promoted
    for trial in promoted:
        origin = records[trial.root]
        assert trial.folder == tmp_path / f"trial-{trial.root:04d}"
        assert trial.seed == origin.seed
        assert trial.overrides["train.epochs"] > origin.overrides["train.epochs"]
        assert records[trial.number].drawn == origin.drawn
    chosen = {trial.root for trial in promoted if trial.root < 9}
    worst_chosen = min(records[root].value or 0 for root in chosen)
    assert sum((record.value or 0) > worst_chosen for record in records[:9]) < 4
    assert all(2 <= len(trial.overrides["model.filters"]) <= 5 for trial in walks.asked)


@pytest.mark.parametrize("tuner", ["hyperband", "random"])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(
    engine: Any, spec: StudySpec, space: SearchSpace, tmp_path: Path, tuner: str
) -> None:
    spec = replace(spec, epochs=4)
    whole = open_study(replace(spec, storage=str(tmp_path / "whole.log")))
    engine.run_keras_tuner(Job(whole.spec, space, Walks(break_at=(3,)), 8, tmp_path), whole, tuner)
    opened = open_study(spec)
    with pytest.raises(KeyboardInterrupt):
        engine.run_keras_tuner(Job(spec, space, Walks(stop_at=6, break_at=(3,)), 8, tmp_path), opened, tuner)
    assert [record.state for record in read_records(opened, space)][-1] == "interrupted"
    walks = Walks()
    engine.run_keras_tuner(Job(spec, space, walks, 8, tmp_path), open_study(spec), tuner)
    assert len(walks.asked) == 4, "only what was missing was run"
    assert drawn(open_study(spec), space) == drawn(whole, space)


def test_errors_are_kept_and_three_in_a_row_end_it(
    engine: Any, spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    opened = open_study(spec)
    job = Job(spec, space, SurrogateObjective(broken=True), 5, tmp_path)
    with pytest.raises(
        TuningError, match=r"3 trials in a row failed \(0, 1, 2\), .* the objective is broken"
    ):
        engine.run_keras_tuner(job, opened)
    assert [record.state for record in read_records(opened, space)] == ["failed"] * 3


def test_a_continuation_with_another_seed_is_noticed(
    engine: Any, spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    engine.run_keras_tuner(Job(spec, space, Walks(), 2, tmp_path), open_study(spec), "random")
    other = replace(spec, seed=9)
    with pytest.raises(TuningError, match="study 'study' cannot be continued: KerasTuner asks for"):
        engine.run_keras_tuner(Job(other, space, Walks(), 4, tmp_path), open_study(other), "random")


def test_a_space_that_is_used_up_says_so(engine: Any, spec: StudySpec, tmp_path: Path) -> None:
    tiny = parse_space(
        {
            "variant": "x",
            "parameters": {"model.unfreeze": {"role": "scientific", "type": "int", "low": 0, "high": 1}},
        },
        "",
    )
    with pytest.raises(TuningError) as caught:
        engine.run_keras_tuner(Job(spec, tiny, Walks(), 9, tmp_path), open_study(spec), "random")
    assert str(caught.value) == (
        "KerasTuner found no further settings after 2 of 9 trials: the space is too small; widen a range or ask "
        "for fewer --trials"
    )


def test_unknown_tuner_and_deadline(engine: Any, spec: StudySpec, space: SearchSpace, tmp_path: Path) -> None:
    opened = open_study(spec)
    with pytest.raises(TuningError) as caught:
        engine.run_keras_tuner(Job(spec, space, Walks(), 1, tmp_path), opened, "bayes")
    assert str(caught.value) == "unknown tuner 'bayes': choose one of hyperband, random"
    assert engine.run_keras_tuner(Job(spec, space, Walks(), 1, tmp_path, deadline=1.0), opened) == LATE
