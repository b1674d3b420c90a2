"""`tune` on synthetic posters: preflight, the objective, a killed search, the ending."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace as changed
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from poster_ml.commands import tune_retraining
from poster_ml.commands.tune import TuneResult, run_tune
from poster_ml.commands.tune_retraining import register_winner
from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import DatasetError, RegistryError, TrackingError, TuningError
from poster_ml.pipeline.task import Task
from poster_ml.pipeline.train_log import checkpoint_folder
from poster_ml.pipeline.tune_log import children
from poster_ml.pipeline.tune_objective import TrainingObjective, TrialDataset, trial_config
from poster_ml.pipeline.tune_options import WORK_FOLDER, TuneOptions, work_folder
from poster_ml.search_space import Fidelity
from poster_ml.serving.registry import Version, find_version
from poster_ml.tracking.runs import RunLogger, find_run, open_run, search_runs
from poster_ml.tracking.store import experiment_name, shared_uri
from poster_ml.training import checkpoint
from poster_ml.tuning.trial import TrialContext
from tests.programs import wait_for
from tests.tiny import tiny_config
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
from pathlib import Path
from poster_ml.commands.tune import run_tune
from poster_ml.pipeline.tune_options import TuneOptions
if __name__ == "__main__":
    options = TuneOptions(trials=3, study="study", retrain=False, pruner="none")
    run_tune(model="basic_cnn", options=options, data=Path("prepared"), overrides={overrides})
"""
LEAN = [
    "evaluate.bootstrap=100", "evaluate.appearance_posters=0", "explain.faithfulness_posters=0",
    "explain.shortcut_posters=0", "explain.detect_posters=0", "train.epochs=2",
]  # fmt: skip


@pytest.fixture
def work(mlflow_place, project, tiny_dataset):
    """A folder to work in, with experiments, a tiny search space and the prepared dataset."""
    for kind in (".", "study"):
        (mlflow_place / "experiments" / kind).mkdir(parents=True, exist_ok=True)
        file = Path("experiments") / kind / "basic_cnn.yaml"
        shutil.copy(project / file, mlflow_place / file)
    (mlflow_place / "experiments" / "tune").mkdir()
    (mlflow_place / "experiments" / "tune" / "basic_cnn.yaml").write_text(SPACE)
    (mlflow_place / "prepared").symlink_to(tiny_dataset)
    (mlflow_place / "command.py").write_text(COMMAND.format(overrides=LEAN))
    return mlflow_place


def search(trials: int, **options: Any) -> TuneResult:
    """Calls the command in the folder that we are in."""
    options = TuneOptions(trials, pruner="none", **options)
    return run_tune(model="basic_cnn", options=options, data=Path("prepared"), overrides=LEAN)


def test_keras_tuner_with_other_processes_is_refused_at_the_door():
    with pytest.raises(TuningError) as caught:
        TuneOptions(3, engine="keras-tuner", workers=2)
    assert str(caught.value) == (
        "the engine keras-tuner runs in this process, received --workers 2 --scheduler none: leave them out, or use "
        "--engine optuna"
    )


def test_a_searched_key_cannot_be_set(work):
    with pytest.raises(TuningError) as caught:
        run_tune(model="basic_cnn", options=TuneOptions(1), data=work, overrides=["model.dropout=0.1"])
    assert str(caught.value) == (
        f"--set model.dropout=0.1: model.dropout is scientific in {work}/experiments/tune/basic_cnn.yaml, so trials "
        "set it; change it there"
    )


def test_trials_are_never_longer_than_the_experiment():
    config = replace(ExperimentConfig(), **{"train.epochs": 15})
    assert trial_config(config, Fidelity(max_samples=100, epochs=5)).train.epochs == 5
    assert trial_config(config, Fidelity(max_samples=100, epochs=50)).train.epochs == 15
    assert trial_config(config, Fidelity(max_samples=0, epochs=0)) == config
    assert trial_config(config, Fidelity(max_samples=100)).max_samples == 100
    assert trial_config(replace(config, max_samples=50), Fidelity(max_samples=100)).max_samples == 50
    assert trial_config(replace(config, max_samples=50), Fidelity(max_samples=0)).max_samples == 50


def test_trials_see_the_same_posters_whatever_their_seeds(tiny_dataset):
    opened = PreparedDataset.open(tiny_dataset)
    parts = (opened.folder, opened.images, opened.index, opened.manifest)
    first, other = TrialDataset(*parts, 5), TrialDataset(*parts, 6)
    drawn = list(opened.indices("train", 60, 5))
    assert list(first.indices("train", 60, 1)) == list(first.indices("train", 60, 2)) == drawn
    assert list(other.indices("train", 60, 1)) != drawn


def test_a_killed_search_goes_on_with_parent_and_children_right(work, tmp_path):
    """One worker is killed, then everything; repeated, the command ends with exactly the trials asked for."""
    process = subprocess.Popen(
        [sys.executable, "command.py"], cwd=work, start_new_session=True, stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
    )  # fmt: skip
    try:
        begun = work / ".poster-ml" / "tuning" / "study" / "trial-0000"
        wait_for(begun.exists, 240)
        workers_of(process.pid)[0].kill()
        wait_for(lambda: search_runs("attributes.status = 'FINISHED'"), 240, pause=0.3)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    result = search(3, workers=2, study="study", retrain=False)
    assert "3 counted trials (3 finished, 0 pruned)" in result.text()

    parent = find_run(result.run_id)
    assert (parent.name, parent.status) == ("study study", "FINISHED")
    trials = children(parent.run_id)
    assert len(search_runs()) == 1 + len(trials), "all are the parent's"
    assert sorted(run.tags["trial.number"] for run in trials) == list("012"), "one per trial, whoever died"
    assert {(run.status, run.tags["trial.state"]) for run in trials} == {("FINISHED", "finished")}
    assert not any("error" in run.tags for run in trials)
    assert len({run.tags["trial.seed"] for run in trials}) == 3
    client = mlflow.MlflowClient()
    for run in trials:
        assert [point.step for point in client.get_metric_history(run.run_id, "val_auc")] == [1, 2]
    best = client.get_metric_history(parent.run_id, "best_val_auc")
    assert [point.step for point in best] == [1, 2, 3]
    values = [point.value for point in best]
    assert values == sorted(values)
    assert values[-1] == max(run.metrics["trial_val_auc"] for run in trials)
    files = {Path(file.path).name for file in client.list_artifacts(parent.run_id, "study")}
    assert files >= {"trials.csv", "history.png", "slices.png", "best_parameters.yaml"}


def test_pruned_and_failed_trials_are_logged_as_what_they_are(work):
    """The objective in this process, with a pruner that says yes and a setting that cannot be built."""
    base = tiny_config(**{"model.filters": [4], "model.dense": [8], "train.epochs": 3})
    seen: list[int] = []

    def report(epoch: int, value: float) -> bool:
        seen.append(epoch)
        return epoch == 2

    context = TrialContext(0, {"model.dropout": 0.2}, 7, work / "t", report)
    with open_run("study", tags={}) as parent:
        where = (shared_uri(), experiment_name())
        objective = TrainingObjective(base, work / "prepared", {}, parent.run_id, *where)
        assert objective(context) is None
        with pytest.raises(DatasetError):
            objective(changed(context, number=1, overrides={"model.filters": [4] * 6}))
    failed, pruned = children(parent.run_id)
    assert seen == [1, 2]
    assert (pruned.status, pruned.tags["trial.state"]) == ("KILLED", "pruned")
    assert pruned.metrics["epochs"] == 2
    assert (pruned.params["model.dropout"], pruned.params["seed"]) == ("0.2", "7")
    assert failed.status == "FAILED"
    said = "DatasetError: cnn with 6 convolutions needs posters of at least"
    assert failed.tags["error"].startswith(said)


def test_a_worker_has_no_backend_before_the_objective_names_the_commands():
    code = "import sys, poster_ml.pipeline.tune_objective; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("undrawn", "work")
def test_the_ending_trains_in_full_registers_the_winner_and_is_not_done_twice():
    """With KerasTuner, whose trials run in this process."""
    result = search(2, engine="keras-tuner")
    found = {child.name: child for child in children(result.run_id)}
    labels = ("default", f"trial {result.best['number']}")
    finals = {name: run for name, run in found.items() if name.startswith("final ")}
    assert set(finals) == {f"final {label}, seed {seed}" for label in labels for seed in (0, 1)}
    assert len({run.params["seed"] for run in finals.values()}) == 2, "all settings on the same seeds"
    assert {run.params["max_samples"] for run in finals.values()} == {"0"}
    parent = find_run(result.run_id)
    winner = find_run(parent.tags["winner.run_id"])
    assert winner.name == f"final {parent.tags['winner.setting']}, seed 0", "named before it was trained"
    means = {
        label: sum(finals[f"final {label}, seed {seed}"].metrics["val_roc_auc"] for seed in (0, 1))
        for label in labels
    }
    assert parent.tags["winner.setting"] == max(means, key=lambda label: means[label])
    tested = [run.run_id for run in children(result.run_id) if "test_roc_auc" in run.metrics]
    assert tested == [winner.run_id], "test is read once"
    version = find_version("poster-cnn", "champion")
    assert version.run_id == winner.run_id
    assert version.tags["chosen_among"] == str(2 + len(finals)), "trials and full trainings"
    assert "there was no champion to compare it with" in result.summary
    repeated = search(2, engine="keras-tuner")
    assert {child.run_id for child in children(result.run_id)} == {child.run_id for child in found.values()}
    assert repeated.run_id == result.run_id
    assert "registered before" in repeated.summary


def test_a_full_training_continues_unless_it_is_alive_or_failed(mlflow_place, monkeypatch):
    asked: list[str | None] = []

    def train(task: Task) -> Any:
        asked.append(task.run_id)
        if task.run_id is not None:
            with checkpoint.run_lock(checkpoint_folder(task.run_id), ".run"):
                RunLogger(task.run_id).end("FINISHED")
        return SimpleNamespace(run_id=task.run_id or first.run_id)

    monkeypatch.setattr(tune_retraining, "train_task", train)
    task: Any = Task(ExperimentConfig(), None, "full")
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
    monkeypatch,
):
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
def test_checkpoints_lie_below_the_work_folder_whatever_the_study_is_called(study):
    folder = work_folder(study)
    assert folder.parent == WORK_FOLDER
    assert folder.resolve().parent == WORK_FOLDER.resolve()
