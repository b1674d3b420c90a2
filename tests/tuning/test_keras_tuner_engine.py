import re
from dataclasses import replace
from typing import Any

import pytest

from poster_ml.errors import TuningError
from poster_ml.search_space import SearchSpace, parse_space
from poster_ml.tuning.results import FAILED, trials_table
from poster_ml.tuning.search import Job
from poster_ml.tuning.study import open_study
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
def engine():
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
    kept = trials_table(opened, space).drop(columns=["seconds", "ended"])
    return kept.fillna("").to_numpy().tolist()


def test_hyperband_promotes_the_better_into_the_same_folder(engine, spec, tmp_path):
    space = parse_space(CNN, "cnn")
    opened, walks = open_study(replace(spec, epochs=9)), Walks()
    engine.run_keras_tuner(Job(space, walks, 16, tmp_path), opened)
    table = trials_table(opened, space)
    assert opened.counted() == len(table) == 16
    promoted = [trial for trial in walks.asked if trial.folder != tmp_path / f"trial-{trial.number:04d}"]
    assert promoted
    for trial in promoted:
        origin = walks.asked[int(trial.folder.name[-4:])]
        assert trial.folder == origin.folder
        assert trial.seed == origin.seed
        assert trial.overrides["train.epochs"] > origin.overrides["train.epochs"]
        assert table.loc[trial.number, "model.filters.blocks":].equals(
            table.loc[origin.number, "model.filters.blocks":]
        )
    chosen = {int(trial.folder.name[-4:]) for trial in promoted} & set(range(9))
    assert sum(table["val_auc"][:9] > min(table["val_auc"][list(chosen)])) < 4
    assert all(2 <= len(trial.overrides["model.filters"]) <= 5 for trial in walks.asked)


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(engine, spec, space, tmp_path):
    spec = replace(spec, epochs=4)
    whole = open_study(replace(spec, name="whole"))
    engine.run_keras_tuner(Job(space, Walks(break_at=(3,)), 8, tmp_path / "whole"), whole)
    folder = tmp_path / "parts"
    walks, killed = Walks(), Walks(stop_at=6, break_at=(3,))
    with pytest.raises(KeyboardInterrupt):
        engine.run_keras_tuner(Job(space, killed, 8, folder), open_study(spec))
    engine.run_keras_tuner(Job(space, walks, 8, folder), open_study(spec))
    assert len(walks.asked) == 4, "only what was missing was run"
    assert walks.asked[0].folder == killed.asked[-1].folder, "in the folder of its checkpoints"
    assert drawn(open_study(spec), space) == drawn(whole, space)


def test_errors_are_kept_and_three_in_a_row_end_it(engine, spec, space, tmp_path):
    opened = open_study(spec)
    job = Job(space, SurrogateObjective(broken=True), 5, tmp_path)
    with pytest.raises(TuningError, match=r"3 trials in a row failed, .*trial 2: .* the objective is broken"):
        engine.run_keras_tuner(job, opened)
    assert list(trials_table(opened, space)["state"]) == [FAILED] * 3


def test_files_that_a_kill_left_half_written_are_said(engine, spec, space, tmp_path):
    engine.run_keras_tuner(Job(space, Walks(), 1, tmp_path), open_study(spec))
    (tmp_path / "keras-tuner" / "oracle.json").write_text('{"ongo')
    with pytest.raises(TuningError, match=r"KerasTuner's files in .* cannot be read .*give another --study"):
        engine.run_keras_tuner(Job(space, Walks(), 2, tmp_path), open_study(spec))


def test_a_space_that_is_used_up_says_so_and_a_deadline_ends_it(engine, spec, tmp_path):
    key = {"role": "scientific", "type": "int", "low": 0, "high": 1}
    tiny = parse_space({"variant": "x", "parameters": {"model.unfreeze": key}}, "")
    engine.run_keras_tuner(Job(tiny, Walks(), 9, tmp_path, deadline=1.0), open_study(spec))
    with pytest.raises(TuningError) as caught:
        engine.run_keras_tuner(Job(tiny, Walks(), 9, tmp_path), open_study(spec))
    assert re.fullmatch(
        r"KerasTuner found no further settings after \d of 9 trials: the space is too small; widen a range or ask "
        r"for fewer --trials",
        str(caught.value),
    )
