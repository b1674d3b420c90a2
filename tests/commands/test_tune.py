"""`tune` on synthetic posters: preflight, the objective, a killed search, the ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from poster_ml.commands import tune_retraining
from poster_ml.commands.tune import run_tune
from poster_ml.commands.tune_retraining import register_winner
from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import RegistryError, TrackingError, TuningError
from poster_ml.pipeline.task import Task
from poster_ml.pipeline.train_log import checkpoint_folder
from poster_ml.pipeline.tune_log import children
from poster_ml.pipeline.tune_objective import trial_config
from poster_ml.pipeline.tune_options import WORK_FOLDER, TuneOptions, work_folder
from poster_ml.search_space import Fidelity
from poster_ml.serving.registry import Version, find_version
from poster_ml.tracking.runs import RunLogger, find_run, open_run
from poster_ml.training import checkpoint
from tests.tuning.command import workers_of

SPACE = """
variant: basic_cnn
fidelity: {max_samples: 100, epochs: 2, promote: 1, seeds: 2}
parameters:
  model.filters: {role: fixed, value: [4, 4]}
  model.dense: {role: fixed, value: [8]}
  model.dropout: {role: scientific, type: float, low: 0.0, high: 0.5}
  train.learning_rate: {role: nuisance, type: log, low: 1e-4, high: 1e-2}
"""

COMMAND = """
import sys
from pathlib import Path
from poster_ml.commands.tune import run_tune
from poster_ml.pipeline.tune_options import TuneOptions
if __name__ == "__main__":
    options = TuneOptions(trials=int(sys.argv[1]), workers=2, study="study", retrain=False, pruner="none")
    print(run_tune(model="basic_cnn", options=options, data=Path("prepared"), overrides=["train.epochs=2"]).text())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, project: Path, tiny_dataset: Path) -> Path:
    """A folder with experiments, a tiny search space and the prepared dataset of synthetic posters."""
    folder = tmp_path_factory.mktemp("tune")
    for kind in (".", "study"):
        (folder / "experiments" / kind).mkdir(parents=True, exist_ok=True)
        text = (project / "experiments" / kind / "basic_cnn.yaml").read_text()
        (folder / "experiments" / kind / "basic_cnn.yaml").write_text(text)
    (folder / "experiments" / "tune").mkdir()
    (folder / "experiments" / "tune" / "basic_cnn.yaml").write_text(SPACE)
    (folder / "prepared").symlink_to(tiny_dataset)
    (folder / "command.py").write_text(COMMAND)
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def test_keras_tuner_with_other_processes_is_refused_at_the_door() -> None:
    with pytest.raises(TuningError) as caught:
        TuneOptions(3, engine="keras-tuner", workers=2)
    assert str(caught.value) == (
        "the engine keras-tuner runs in this process, received --workers 2 --scheduler none: leave them out, or use "
        "--engine optuna"
    )


def test_a_searched_key_cannot_be_set(here: Path) -> None:
    with pytest.raises(TuningError) as caught:
        run_tune(model="basic_cnn", options=TuneOptions(1), data=here, overrides=["model.dropout=0.1"])
    assert str(caught.value) == (
        f"--set model.dropout=0.1: model.dropout is scientific in {here}/experiments/tune/basic_cnn.yaml, so trials "
        "set it; change it there"
    )


def test_trials_are_never_longer_than_the_experiment() -> None:
    config = replace(ExperimentConfig(), **{"train.epochs": 15})
    assert trial_config(config, Fidelity(max_samples=100, epochs=5)).train.epochs == 5
    assert trial_config(config, Fidelity(max_samples=100, epochs=50)).train.epochs == 15
    assert trial_config(config, Fidelity(max_samples=0, epochs=0)) == config
    assert trial_config(config, Fidelity(max_samples=100)).max_samples == 100
    assert trial_config(replace(config, max_samples=50), Fidelity(max_samples=100)).max_samples == 50
    assert trial_config(replace(config, max_samples=50), Fidelity(max_samples=0)).max_samples == 50


def test_trials_see_the_same_posters_whatever_their_seeds(here: Path) -> None:
    from poster_ml.pipeline.tune_objective import TrialDataset

    opened = PreparedDataset.open(here / "prepared")
    parts = (opened.folder, opened.images, opened.index, opened.manifest)
    first, other = TrialDataset(*parts, 5), TrialDataset(*parts, 6)
    assert (
        list(first.indices("train", 60, 1))
        == list(first.indices("train", 60, 2))
        == list(opened.indices("train", 60, 5))
    )
    assert list(first.indices("train", 60, 1)) != list(other.indices("train", 60, 1))


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 240.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout} s until {what}"
        time.sleep(0.1)


def trial_runs(place: Path) -> dict[str, Any]:
    """Child runs by trial number, straight from the store."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("poster-ml")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return {run.data.tags.get("trial.number", run.data.tags.get("kind", "")): run for run in runs}


def test_a_killed_search_goes_on_with_parent_and_children_right(here: Path) -> None:
    """One worker is killed, then everything; the repeated command ends with exactly the trials asked for."""
    import mlflow

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "command.py", "4"], cwd=here, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{here / 'mlflow.db'}"},
        )  # fmt: skip

    process = start()
    begun = here / ".poster-ml" / "tuning" / "study" / "trial-0000"
    wait_until(begun.exists, "the first trial has begun")  # the store is made by then: not looked at before
    workers_of(process.pid)[0].kill()
    wait_until(
        lambda: any(run.info.status == "FINISHED" for run in trial_runs(here).values()), "one has finished"
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = start()
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0
    assert "4 counted trials (4 finished, 0 pruned)" in out

    runs = trial_runs(here)
    parent = runs.pop("study")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert set(runs) == {"0", "1", "2", "3"}, "one child per trial, whoever died"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {run.data.tags["trial.state"] for run in runs.values()} == {"finished"}
    assert not any("error" in run.data.tags for run in runs.values())
    finished = runs
    assert len({run.data.tags["trial.seed"] for run in finished.values()}) == 4
    client = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
    for run in finished.values():
        assert [point.step for point in client.get_metric_history(run.info.run_id, "val_auc")] == [1, 2]
    best = client.get_metric_history(parent.info.run_id, "best_val_auc")
    assert [point.step for point in best] == [1, 2, 3, 4]
    values = [point.value for point in best]
    assert values == sorted(values)
    assert values[-1] == max(run.data.metrics["trial_val_auc"] for run in finished.values())
    names = {file.path for file in client.list_artifacts(parent.info.run_id, "study")}
    assert names >= {
        "study/trials.csv",
        "study/history.png",
        "study/slices.png",
        "study/best_parameters.yaml",
    }


def test_pruned_and_failed_trials_are_logged_as_what_they_are(here: Path, tmp_path: Path) -> None:
    """The objective in this process, with a pruner that says yes and a setting that cannot be built."""
    import mlflow

    from poster_ml.errors import DatasetError
    from poster_ml.pipeline.tune_objective import TrainingObjective
    from poster_ml.tracking.store import experiment_name, shared_uri
    from poster_ml.tuning.trial import PrunedError, TrialContext

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    base = replace(
        ExperimentConfig(),
        **{"model.filters": [4], "model.dense": [8], "train.epochs": 3, "model.weights": "none"},
    )
    seen: list[int] = []

    def report(epoch: int, value: float) -> bool:
        seen.append(epoch)
        return epoch == 2

    context = TrialContext(0, {"model.dropout": 0.2}, 7, tmp_path / "t", report)
    try:
        with open_run("study", tags={}) as parent:
            where = (shared_uri(), experiment_name())
            objective = TrainingObjective(base, here / "prepared", {}, parent.run_id, *where)
            with pytest.raises(PrunedError):
                objective(context)
            with pytest.raises(DatasetError):
                objective(changed(context, number=1, overrides={"model.filters": [4] * 6}))
            failed, pruned = children(parent.run_id)
        assert seen == [1, 2]
        assert (pruned.status, pruned.tags["trial.state"]) == ("KILLED", "pruned")
        assert pruned.metrics["epochs"] == 2
        assert pruned.params["model.dropout"] == "0.2"
        assert pruned.params["seed"] == "7"
        assert failed.status == "FAILED"
        assert failed.tags["error"].startswith(
            "DatasetError: cnn with 6 convolutions needs posters of at least"
        )
        assert {pruned.tags["mlflow.parentRunId"], failed.tags["mlflow.parentRunId"]} == {parent.run_id}
    finally:
        mlflow.set_tracking_uri(None)


def test_the_best_parameters_file_reads_as_an_experiment_section() -> None:
    from poster_ml.pipeline.tune_log import nested

    assert yaml.safe_dump(
        nested({"model.dropout": 0.1, "model.dense": (8, 8), "seed": 1}), sort_keys=False
    ) == ("model:\n  dropout: 0.1\n  dense:\n  - 8\n  - 8\nseed: 1\n")


def test_the_ending_trains_in_full_registers_the_winner_and_is_not_done_twice(
    here: Path, mlflow_place: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mlflow_place)
    (mlflow_place / "experiments").symlink_to(place / "experiments")
    lean = ["evaluate.bootstrap=100", "explain.faithfulness_posters=0", "explain.shortcut_posters=0"]
    arguments: dict[str, Any] = {
        "model": "basic_cnn",
        "data": place / "prepared",
        "options": TuneOptions(trials=2, pruner="none"),
        "overrides": [*lean, "train.epochs=2"],
    }
    result = run_tune(**arguments)
    found = {child.name: child for child in children(result.run_id)}
    finals = {name for name in found if name.startswith("final ")}
    assert finals == {
        f"final {label}, seed {seed}"
        for label in ("default", f"trial {result.best['number']}")
        for seed in (0, 1)
    }
    seeds = {found[name].params["seed"] for name in finals}
    assert len(seeds) == 2, "the settings are compared on the same seeds"
    assert all(found[name].params["max_samples"] == "0" for name in finals)
    parent = find_run(result.run_id)
    winner = find_run(parent.tags["winner.run_id"])
    assert winner.name == f"final {parent.tags['winner.setting']}, seed 0", "named before it was trained"
    means = {
        label: np.mean([found[f"final {label}, seed {seed}"].metrics["val_roc_auc"] for seed in (0, 1)])
        for label in ("default", f"trial {result.best['number']}")
    }
    assert parent.tags["winner.setting"] == max(means, key=lambda label: means[label])
    assert "test_roc_auc" in winner.metrics
    others = [run for name, run in found.items() if name in finals and run.run_id != winner.run_id]
    assert not any("test_roc_auc" in find_run(run.run_id).metrics for run in others), "test is read once"
    assert find_version("poster-cnn", "champion").run_id == winner.run_id
    version = find_version("poster-cnn", "champion")
    assert version.tags["chosen_among"] == str(2 + len(finals)), "trials and full trainings"
    assert "there was no champion to compare it with" in result.summary
    repeated = run_tune(**arguments)
    assert {child.run_id for child in children(result.run_id)} == {child.run_id for child in found.values()}
    assert repeated.run_id == result.run_id
    assert "registered before" in repeated.summary


def test_a_full_training_continues_unless_it_is_alive_or_failed(
    mlflow_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def train(task: Any, *, run_id: str | None, name: str, parent_run_id: str) -> Any:
        asked.append(run_id)
        if run_id is not None:
            with checkpoint.run_lock(checkpoint_folder(run_id), ".run"):
                RunLogger(run_id).end("FINISHED")
        return SimpleNamespace(run_id=run_id or first.run_id)

    monkeypatch.setattr(tune_retraining, "train_task", train)
    task: Any = Task(ExperimentConfig(), None, "full")  # type: ignore[arg-type]
    with (
        open_run("study x", tags={}) as parent,
        open_run("final default, seed 0", tags={}, parent_run_id=parent.run_id) as first,
    ):
        trained: Any = (task, {}, "final default, seed 0", parent)
        with (
            checkpoint.run_lock(checkpoint_folder(first.run_id), ".run"),
            pytest.raises(TrackingError, match=rf"trains into .*{first.run_id} now: wait for it"),
        ):
            tune_retraining._trained(*trained)
        assert find_run(first.run_id).status == "RUNNING"
        first.end("FAILED")
        tune_retraining._trained(*trained)
        first.end("KILLED")
        assert tune_retraining._trained(*trained).status == "FINISHED"
        assert tune_retraining._trained(*trained).run_id == first.run_id
    assert asked == [first.run_id, None, first.run_id]


def test_a_champion_that_cannot_be_compared_does_not_lose_the_end_of_a_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task: Any = SimpleNamespace(profile="full", config=ExperimentConfig())

    def refuse(family: str) -> None:
        raise RegistryError("version 1 has no predictions: run `poster-ml evaluate` first")

    version = Version("poster-cnn", 2, "challenger", "abc", "val_roc_auc", 0.7, created=True)
    monkeypatch.setattr("poster_ml.commands.tune_retraining.register_run", lambda *_, **__: version)
    monkeypatch.setattr("poster_ml.commands.tune_retraining.run_promote", refuse)
    assert register_winner(task, "abc", 42) == (
        "poster-cnn version 2 (challenger): run abc, val_roc_auc 0.7000: not compared with the champion: "
        "version 1 has no predictions: run `poster-ml evaluate` first"
    )


@pytest.mark.parametrize("study", ["../../elsewhere", "/elsewhere", "..", ".", "a/b", "v1.2 of mine"])
def test_checkpoints_lie_below_the_work_folder_whatever_the_study_is_called(study: str) -> None:
    folder = work_folder(study)
    assert folder.parent == WORK_FOLDER
    assert folder.resolve().parent == WORK_FOLDER.resolve()
