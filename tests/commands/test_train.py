"""One run from configuration to logged model: everything the interface promises, on tiny posters."""

from __future__ import annotations

import inspect
import shutil
from collections import Counter

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from poster_ml import cli
from poster_ml.commands import train as train_module
from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.train import resume_train, run_train, train_task
from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError, DatasetError, RegistryError, TrackingError, UnknownLayerError
from poster_ml.pipeline import preflight, train_log
from poster_ml.pipeline.records import fetched, recorded_config, recorded_dataset, recorded_logits
from poster_ml.pipeline.task import Task
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.registry import register_best
from poster_ml.tracking.runs import RunLogger, find_run, open_run, search_runs
from tests.commands.datasets import changed_copy
from tests.tiny import tiny_config

CHANGES = {
    "train.epochs": 3,
    "train.deterministic": True,
    "explain.faithfulness_posters": 4,
    "explain.shortcut_posters": 500,
    "augment.rotation": 3,
    "model.dropout": 0.2,
}


def tiny(**changes) -> ExperimentConfig:
    return tiny_config(**CHANGES | changes)


@pytest.fixture
def task(tiny_dataset, mlflow_place):
    return Task(tiny(), PreparedDataset.open(tiny_dataset), "full")


def artifacts(run_id, path=""):
    client = mlflow.MlflowClient()
    found = set()
    for item in client.list_artifacts(run_id, path):
        found |= artifacts(run_id, item.path) if item.is_dir else {item.path}
    return found


def test_a_run_logs_everything_that_the_interface_names(task):
    result = train_task(task)
    run = mlflow.MlflowClient().get_run(result.run_id)
    assert mlflow.get_experiment(run.info.experiment_id).name == "poster-ml"
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    assert {key: tags[key] for key in ("variant", "protocol", "profile", "weights", "backend")} == {
        "variant": "basic_cnn", "protocol": "sound", "profile": "full", "weights": "none", "backend": "tensorflow",
    }  # fmt: skip
    assert tags["dataset.fingerprint"] == task.dataset.fingerprint
    assert tags["precision"] in ("float32", "mixed_bfloat16")
    assert len(tags["git_commit"]) >= 7
    assert run.data.params["model.filters"] == "4,8"
    assert run.inputs.dataset_inputs[0].dataset.digest == tags["dataset.fingerprint"][:32]
    steps = {metric.step for metric in mlflow.MlflowClient().get_metric_history(result.run_id, "val_auc")}
    assert steps == {1, 2, 3}
    per_epoch = (
        "accuracy loss auc val_accuracy val_loss val_auc learning_rate epoch_seconds images_per_second"
    )
    names = "accuracy roc_auc balanced_accuracy average_precision f1 log_loss brier ece"
    ends = [f"val_{name}{end}" for name in names.split() for end in ("", "_ci_low", "_ci_high")]
    more = ["val_majority_accuracy", "val_baseline_year_genre_roc_auc", "val_poster_beyond_metadata_auc_gain"]
    assert {*per_epoch.split(), *ends, *more} <= set(run.data.metrics)
    evaluated = {
        name: result.metrics[name] for name in ("val_accuracy", "val_roc_auc", "val_accuracy_ci_low")
    }
    assert {name: run.data.metrics[name] for name in evaluated} == evaluated
    evaluation = (
        "roc.png precision_recall.png confusion_matrix.png calibration.png classification_report.txt "
    )
    evaluation += "classification_report.json predictions.csv slices.csv"
    expected = {f"evaluation/val/{name}" for name in evaluation.split()}
    expected |= {
        f"explain/val/{name}" for name in ("cam_fresh_top8.png", "cam_rotten_top8.png", "faithfulness.json")
    }
    expected |= {"experiment.yaml", "curves/accuracy_loss.png", "report.html", "model_card.md"}
    logged = artifacts(result.run_id)
    assert expected <= logged
    assert any(name.startswith("explain/val/activations_") for name in logged)
    assert run.outputs.model_outputs
    # What was logged loads and gives the logged numbers.
    model, settings = load_keras_model(f"runs:/{result.run_id}/model")
    record = find_run(result.run_id)
    dataset = recorded_dataset(record)
    known = recorded_logits(record, dataset, task.config)["val"]
    rows = dataset.indices("val")
    again = model.predict_on_batch(np.asarray(dataset.images[rows]))[:, 0]
    np.testing.assert_allclose(again, known, atol=1e-5)
    with fetched(result.run_id, "evaluation/val/predictions.csv") as file:
        table = pd.read_csv(file)
    np.testing.assert_allclose(table["probability"], expit(known / record.metrics["temperature"]), atol=1e-6)
    assert settings.variant == "basic_cnn"
    assert recorded_config(record) == task.config


def test_a_training_is_one_function_of_one_screen():
    lines = inspect.getsource(train_task).splitlines()
    assert len(lines) <= 60
    steps = (
        "locked_run", "log_task", "fit_model", "fit_decision_rule", "evaluate_split", "explain_split",
        "log_network", "write_report",
    )  # fmt: skip
    found = [next(number for number, line in enumerate(lines) if f"{step}(" in line) for step in steps]
    assert found == sorted(found)


def test_a_command_opens_and_verifies_its_dataset_once_and_reaches_the_model_in_six_hops(
    tiny_dataset, mlflow_place, monkeypatch
):
    calls: Counter[str] = Counter()
    hops: list[str] = []

    def counted(name, real):
        def call(*arguments, **options):
            calls[name] += 1
            return real(*arguments, **options)

        return call

    real_log = train_log.log_poster_model

    def log_model(*arguments, **options):
        frames = inspect.stack()[1:]
        names = [frame.function for frame in frames if "poster_ml" in frame.filename]
        hops.extend(reversed(names[: names.index("train") + 1]))
        return real_log(*arguments, **options)

    open_dataset = staticmethod(counted("dataset opened", PreparedDataset.open))
    monkeypatch.setattr(PreparedDataset, "open", open_dataset)
    monkeypatch.setattr(PreparedDataset, "verify", counted("dataset verified", PreparedDataset.verify))
    real_load = counted("configuration validated", preflight.load_experiment)
    monkeypatch.setattr(preflight, "load_experiment", real_load)
    monkeypatch.setattr(train_log, "log_poster_model", log_model)
    settings = "model.filters=[4];model.dense=[4];train.epochs=1;evaluate.bootstrap=100"
    settings += ";explain.faithfulness_posters=0;explain.shortcut_posters=0"
    assert cli.run(["train", "--model", "basic_cnn", "--data", str(tiny_dataset), "--set", settings]) == 0
    assert calls == {"configuration validated": 1, "dataset opened": 1, "dataset verified": 1}
    assert hops == ["train", "run_command", "run_train", "train_task", "log_network"]


def test_what_the_kept_network_is_evaluated_by_is_the_last_word(mlflow_place):
    with open_run("a run", tags={}) as run:
        for epoch, value in enumerate((0.5, 0.7, 0.6), start=1):
            run.log_metrics({"val_accuracy": value, "val_auc": value}, step=epoch)
        run.log_results({"val_accuracy": 0.7, "val_roc_auc": 0.71})
    metrics = find_run(run.run_id).metrics
    assert (metrics["val_accuracy"], metrics["val_auc"], metrics["val_roc_auc"]) == (0.7, 0.6, 0.71)
    with open_run("no epochs", tags={}) as run:
        run.log_results({"test_roc_auc": 0.6})
    assert find_run(run.run_id).metrics == {"test_roc_auc": 0.6}


def test_evaluate_adds_the_split_to_the_same_run_and_leaves_its_state(task):
    trained = train_task(task)
    run_id = trained.run_id
    before = mlflow.MlflowClient().get_run(run_id)
    result = run_evaluate(run=run_id, split="test")
    after = mlflow.MlflowClient().get_run(run_id)
    assert after.info.status == "FINISHED"
    assert after.info.end_time == before.info.end_time
    assert after.data.tags["git_commit"] == before.data.tags["git_commit"]
    for name in ("test_accuracy", "test_majority_accuracy", "baseline_year_roc_auc", "baseline_genre_roc_auc",
                 "baseline_year_genre_roc_auc", "poster_beyond_metadata_auc_gain"):  # fmt: skip
        assert name in after.data.metrics
        assert result.metrics[name] == after.data.metrics[name]
    assert after.data.metrics["val_accuracy"] == before.data.metrics["val_accuracy"]
    assert "evaluation/test/predictions.csv" in artifacts(run_id)
    again = run_evaluate(model_uri=f"runs:/{run_id}/model", split="test")
    assert again.metrics == pytest.approx(result.metrics, nan_ok=True)
    validation = run_evaluate(run=run_id, split="val")
    assert validation.metrics == pytest.approx(trained.metrics, nan_ok=True)


def test_an_evaluation_can_measure_more_or_less_and_cannot_change_what_the_model_is(task):
    run_id = train_task(task).run_id
    asked = ["explain.shortcut_posters=0", "evaluate.bootstrap=150"]
    few = run_evaluate(run=run_id, overrides=asked)
    assert not any("_shortcut_" in name for name in few.metrics)
    assert (
        find_run(run_id).tags["evaluation.test.set"] == "explain.shortcut_posters=0; evaluate.bootstrap=150"
    )
    assert recorded_config(find_run(run_id)) == task.config
    whole = run_evaluate(run=run_id)
    assert any("_shortcut_" in name for name in whole.metrics)
    assert whole.metrics["test_roc_auc"] == few.metrics["test_roc_auc"]
    assert whole.metrics["test_log_loss_ci_low"] != few.metrics["test_log_loss_ci_low"]
    assert find_run(run_id).tags["evaluation.test.set"] == ""
    wrong = {
        "model.dropout=0.5": "'model.dropout' cannot be set here: choose of evaluate.bootstrap, ",
        "explain.detect_posters=-1": "explain.detect_posters: received -1",
    }
    for override, message in wrong.items():
        with pytest.raises(ConfigError, match=f"^--set {override}: {message}"):
            run_evaluate(run=run_id, overrides=[override])


def test_another_dataset_is_used_only_when_named_and_gets_a_run_of_its_own(task, tiny_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    run_id = train_task(Task(task.config, PreparedDataset.open(copy), "full")).run_id
    shutil.rmtree(copy)
    changed_copy(tiny_dataset, copy)
    with pytest.raises(DatasetError, match="has changed since run"):
        run_evaluate(run=run_id)
    result = run_evaluate(run=run_id, data=copy)
    assert result.run_id != run_id
    other, own = find_run(result.run_id), find_run(run_id)
    assert other.tags["evaluated_run_id"] == run_id
    assert other.metrics["test_roc_auc"] == result.metrics["test_roc_auc"]
    assert "test_roc_auc" not in own.metrics


def test_a_dataset_whose_pixels_were_changed_is_refused(task, tiny_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    images = np.lib.format.open_memmap(copy / "images.npy", mode="r+")
    images[3] = 0
    images.flush()
    with pytest.raises(DatasetError, match=r"is not what was written"):
        run_train(task.config, PreparedDataset.open(copy))
    assert search_runs() == []


def test_a_layer_to_explain_that_is_not_there_is_refused_before_the_first_epoch(task):
    with pytest.raises(UnknownLayerError, match="no layer 'nowhere' with 4-D output"):
        train_task(Task(tiny(**{"explain.layer": "nowhere"}), task.dataset, "full"))
    (run,) = search_runs()
    assert "val_auc" not in run.metrics


def test_a_run_on_some_of_the_posters_is_not_registered(task):
    train_task(Task(tiny(max_samples=100), task.dataset, "full"))
    with pytest.raises(RegistryError, match=r"on all posters \(no --limit\)"):
        register_best("cnn")
    whole = train_task(task)
    assert register_best("cnn").run_id == whole.run_id


def interrupting(real, at_epoch, action):
    """`fit_model`, with something that happens after an epoch was saved and before it is logged."""

    def fit_model(*arguments, on_epoch, **options):
        def log(epoch, metrics):
            if epoch == at_epoch:
                action()
            on_epoch(epoch, metrics)

        return real(*arguments, on_epoch=log, **options)

    return fit_model


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_as_the_same_run_with_the_same_numbers(task, monkeypatch, caplog):
    caplog.set_level("INFO", "poster_ml")
    whole = train_task(task)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "fit_model", interrupting(train_module.fit_model, 2, interrupt))
        with pytest.raises(KeyboardInterrupt):
            train_task(task)
    (stopped,) = search_runs("attributes.status = 'KILLED'")
    assert stopped.run_id != whole.run_id
    assert f"after an interruption: poster-ml train --resume {stopped.run_id}" in caplog.text
    resumed = resume_train(stopped.run_id)
    assert resumed.run_id == stopped.run_id
    assert resumed.metrics == pytest.approx(whole.metrics, nan_ok=True)
    client = mlflow.MlflowClient()
    assert client.get_run(stopped.run_id).info.status == "FINISHED"
    for name in ("val_auc", "loss"):
        histories = [
            [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]
            for run_id in (whole.run_id, resumed.run_id)
        ]
        assert sorted(histories[0]) == sorted(histories[1])
    with pytest.raises(TrackingError, match="is finished: nothing to resume"):
        resume_train(resumed.run_id)


def test_a_second_process_leaves_a_run_that_is_alive_alone(task, monkeypatch):
    """While it trains, while it is evaluated, and just after its end: refused before the run is touched."""
    real_evaluate, seen = train_module.evaluate_split, []

    def try_to_take():
        (before,) = search_runs()
        with pytest.raises(TrackingError, match=r"another process trains into .* now: wait for it to end"):
            train_task(task, run_id=before.run_id, name="thief")
        after = find_run(before.run_id)
        assert (after.status, after.tags) == ("RUNNING", before.tags)
        seen.append(before.run_id)

    def evaluate_late(*arguments):
        try_to_take()
        return real_evaluate(*arguments)

    monkeypatch.setattr(train_module, "fit_model", interrupting(train_module.fit_model, 2, try_to_take))
    monkeypatch.setattr(train_module, "evaluate_split", evaluate_late)
    result = train_task(task)
    assert seen == [result.run_id] * 2
    with pytest.raises(TrackingError, match="was finished by another process just now: nothing to do"):
        train_task(task, run_id=result.run_id)
    record = find_run(result.run_id)
    assert (record.status, record.name) == ("FINISHED", task.config.variant)
    assert "error" not in record.tags


def test_a_run_that_fails_says_so_and_one_that_ends_well_keeps_no_error_of_it(task, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "evaluate_split", fail)
        with pytest.raises(OSError, match="disk full"):
            train_task(task)
    (failed,) = search_runs()
    assert failed.status == "FAILED"
    assert failed.tags["error"] == "OSError: disk full"
    resume_train(failed.run_id)
    assert find_run(failed.run_id).status == "FINISHED"
    assert "error" not in find_run(failed.run_id).tags


@pytest.mark.parametrize("ours", [True, False])
def test_under_mlflow_run_a_run_of_our_experiment_is_used_and_another_points_to_ours(
    mlflow_place, monkeypatch, ours
):
    with open_run("first", tags={}, system_metrics=False) as outer:
        pass
    if not ours:
        with mlflow.start_run(experiment_id="0") as active:
            outer = RunLogger(active.info.run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", outer.run_id)
    with open_run("second", tags={}, system_metrics=False) as run:
        pass
    assert (run.run_id == outer.run_id) is ours
    if not ours:
        tags = mlflow.MlflowClient().get_run(outer.run_id).data.tags
        assert tags["poster_ml.run_id"] == run.run_id


def test_a_run_keeps_the_state_that_was_set_inside(mlflow_place):
    with open_run("pruned", tags={}, system_metrics=False) as run:
        run.end("KILLED")
    assert find_run(run.run_id).status == "KILLED"
