"""One run from configuration to logged model: everything the interface promises, on tiny posters."""

import inspect
import shutil
from collections import Counter
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from poster_ml import cli
from poster_ml.commands import train as train_module
from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.train import resume_train, run_train, train_task
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError, DatasetError, TrackingError, UnknownLayerError
from poster_ml.pipeline import preflight, train_log
from poster_ml.pipeline.records import fetched, recorded_config, recorded_dataset, recorded_logits
from poster_ml.pipeline.task import Task
from poster_ml.serving.load import load_keras_model
from poster_ml.tracking.runs import find_run, open_run, search_runs
from tests.commands.datasets import changed_copy
from tests.tiny import tiny_config

STEPS = (
    "training_run", "fit_model", "fit_decision_rule", "evaluate_split", "explain_split",
    "log_network", "write_report",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole_task(tiny_dataset, undrawn):
    """A training that draws at random wherever one can, and is explained and tested."""
    random = {"train.epochs": 3, "train.deterministic": True, "augment.rotation": 3, "model.dropout": 0.2}
    tested = {"explain.faithfulness_posters": 4, "explain.shortcut_posters": 500}
    return Task(tiny_config(**random, **tested), PreparedDataset.open(tiny_dataset), "full")


@pytest.fixture(scope="module")
def trained(whole_task, shared_mlflow_place):
    """What the training of it returned; its run is shared by tests that look at it and evaluate it."""
    return train_task(whole_task)


@pytest.fixture
def task(tiny_dataset, mlflow_place):
    """A training of no more than it takes, in a store of its own."""
    return Task(tiny_config(), PreparedDataset.open(tiny_dataset), "full")


def artifacts(run_id, path=""):
    found = set()
    for item in mlflow.MlflowClient().list_artifacts(run_id, path):
        found |= artifacts(run_id, item.path) if item.is_dir else {item.path}
    return found


def test_a_run_logs_everything_that_the_interface_names(trained, whole_task):
    run = mlflow.MlflowClient().get_run(trained.run_id)
    assert mlflow.get_experiment(run.info.experiment_id).name == "poster-ml"
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    assert tags.items() >= {
        "variant": "basic_cnn", "protocol": "sound", "profile": "full", "weights": "none",
        "backend": "tensorflow", "dataset.fingerprint": whole_task.dataset.fingerprint,
    }.items()  # fmt: skip
    assert tags["precision"] in ("float32", "mixed_bfloat16")
    assert len(tags["git_commit"]) >= 7
    assert run.data.params["model.filters"] == "4,8"
    assert run.inputs.dataset_inputs[0].dataset.digest == tags["dataset.fingerprint"][:32]
    history = mlflow.MlflowClient().get_metric_history(trained.run_id, "val_auc")
    assert {metric.step for metric in history} == {1, 2, 3}
    epoch = "accuracy loss auc val_accuracy val_loss val_auc learning_rate epoch_seconds images_per_second"
    names = "accuracy roc_auc balanced_accuracy average_precision f1 log_loss brier ece"
    ends = {f"val_{name}{end}" for name in names.split() for end in ("", "_ci_low", "_ci_high")}
    more = "val_majority_accuracy val_baseline_year_genre_roc_auc val_poster_beyond_metadata_auc_gain"
    assert ends | {*epoch.split(), *more.split()} <= set(run.data.metrics)
    for name in ("val_accuracy", "val_roc_auc", "val_accuracy_ci_low"):
        assert run.data.metrics[name] == trained.metrics[name]
    pictures = "roc.png precision_recall.png confusion_matrix.png calibration.png"
    tables = "classification_report.txt classification_report.json predictions.csv slices.csv"
    expected = {f"evaluation/val/{name}" for name in f"{pictures} {tables}".split()}
    maps = ("cam_fresh_top8.png", "cam_rotten_top8.png", "faithfulness.json")
    expected |= {f"explain/val/{name}" for name in maps}
    expected |= {"experiment.yaml", "curves/accuracy_loss.png", "report.html", "model_card.md"}
    logged = artifacts(trained.run_id)
    assert expected <= logged
    assert any(name.startswith("explain/val/activations_") for name in logged)
    assert run.outputs.model_outputs


def test_what_was_logged_loads_and_gives_the_logged_numbers(trained, whole_task):
    model, settings = load_keras_model(f"runs:/{trained.run_id}/model")
    record = find_run(trained.run_id)
    dataset = recorded_dataset(record)
    known = recorded_logits(record, dataset, whole_task.config)["val"]
    again = model.predict_on_batch(np.asarray(dataset.images[dataset.indices("val")]))[:, 0]
    np.testing.assert_allclose(again, known, atol=1e-5)
    with fetched(trained.run_id, "evaluation/val/predictions.csv") as file:
        probabilities = pd.read_csv(file)["probability"]
    np.testing.assert_allclose(probabilities, expit(known / record.metrics["temperature"]), atol=1e-6)
    assert settings.variant == "basic_cnn"
    assert recorded_config(record) == whole_task.config


def test_a_training_is_one_function_of_one_screen():
    lines = inspect.getsource(train_task).splitlines()
    assert len(lines) <= 60
    found = [next(number for number, line in enumerate(lines) if f"{step}(" in line) for step in STEPS]
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

    def log_model(*arguments, **options):
        names = [frame.function for frame in inspect.stack()[1:] if "poster_ml" in frame.filename]
        hops.extend(reversed(names[: names.index("train") + 1]))
        raise KeyboardInterrupt

    open_dataset = staticmethod(counted("dataset opened", PreparedDataset.open))
    monkeypatch.setattr(PreparedDataset, "open", open_dataset)
    monkeypatch.setattr(PreparedDataset, "verify", counted("dataset verified", PreparedDataset.verify))
    real_load = counted("configuration validated", preflight.load_experiment)
    monkeypatch.setattr(preflight, "load_experiment", real_load)
    monkeypatch.setattr(train_log, "log_poster_model", log_model)
    settings = "model.filters=[4];model.dense=[4];train.epochs=1;evaluate.bootstrap=100"
    settings += ";explain.faithfulness_posters=0;explain.shortcut_posters=0"
    assert cli.run(["train", "--model", "basic_cnn", "--data", str(tiny_dataset), "--set", settings]) == 130
    assert calls == {"configuration validated": 1, "dataset opened": 1, "dataset verified": 1}
    assert hops == ["train", "run_command", "run_train", "train_task", "log_network"]


def test_what_the_kept_network_is_evaluated_by_is_the_last_word(mlflow_place):
    with open_run("a run", tags={}, system_metrics=False) as run:
        for epoch, value in enumerate((0.5, 0.7, 0.6), start=1):
            run.log_metrics({"val_accuracy": value, "val_auc": value}, step=epoch)
        run.log_results({"val_accuracy": 0.7, "val_roc_auc": 0.71})
    assert find_run(run.run_id).metrics == {"val_accuracy": 0.7, "val_auc": 0.6, "val_roc_auc": 0.71}


def test_evaluate_adds_to_the_same_run_what_it_was_asked_for_and_leaves_the_rest(trained, whole_task):
    run_id, client = trained.run_id, mlflow.MlflowClient()
    before = client.get_run(run_id)
    asked = ["explain.shortcut_posters=0", "evaluate.bootstrap=150"]
    few = run_evaluate(model_uri=f"runs:/{run_id}/model", overrides=asked)
    assert not any("_shortcut_" in name for name in few.metrics)
    said = client.get_run(run_id).data.tags["evaluation.test.set"]
    assert said == "explain.shortcut_posters=0; evaluate.bootstrap=150"
    assert recorded_config(find_run(run_id)) == whole_task.config
    result = run_evaluate(run=run_id, split="test")
    assert any("_shortcut_" in name for name in result.metrics)
    assert result.metrics["test_roc_auc"] == few.metrics["test_roc_auc"]
    assert result.metrics["test_log_loss_ci_low"] != few.metrics["test_log_loss_ci_low"]
    after = client.get_run(run_id)
    assert after.data.tags["evaluation.test.set"] == ""
    assert (after.info.status, after.info.end_time) == ("FINISHED", before.info.end_time)
    assert after.data.tags["git_commit"] == before.data.tags["git_commit"]
    metadata = [f"baseline_{kind}_roc_auc" for kind in ("year", "genre", "year_genre")]
    for name in ("test_accuracy", "test_majority_accuracy", *metadata, "poster_beyond_metadata_auc_gain"):
        assert result.metrics[name] == after.data.metrics[name]
    assert after.data.metrics["val_accuracy"] == before.data.metrics["val_accuracy"]
    assert "evaluation/test/predictions.csv" in artifacts(run_id)
    validation = run_evaluate(run=run_id, split="val")
    assert validation.metrics == pytest.approx(trained.metrics, nan_ok=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dropout=0.5", "'model.dropout' cannot be set here: choose of evaluate.bootstrap, "),
        ("explain.detect_posters=-1", "explain.detect_posters: received -1"),
    ],
)
def test_an_evaluation_cannot_change_what_the_model_is(trained, override, message):
    with pytest.raises(ConfigError, match=f"^--set {override}: {message}"):
        run_evaluate(run=trained.run_id, overrides=[override])


def test_another_dataset_is_used_only_when_named_and_gets_a_run_of_its_own(trained, tiny_dataset, tmp_path):
    seen = {name: find_run(trained.run_id).metrics.get(name) for name in ("test_roc_auc", "val_roc_auc")}
    other = changed_copy(tiny_dataset, tmp_path / "other")
    result = run_evaluate(run=trained.run_id, data=other)
    assert result.run_id != trained.run_id
    evaluated = find_run(result.run_id)
    assert evaluated.tags["evaluated_run_id"] == trained.run_id
    assert evaluated.metrics["test_roc_auc"] == result.metrics["test_roc_auc"]
    assert seen == {name: find_run(trained.run_id).metrics.get(name) for name in seen}
    with open_run("of posters that have changed", tags={"dataset.fingerprint": "a" * 64}) as changed:
        changed.log_config(tiny_config())
        changed.log_params({"data": str(tiny_dataset)})
    with pytest.raises(DatasetError, match=f"has changed since run {changed.run_id} "):
        run_evaluate(run=changed.run_id)


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
        train_task(Task(tiny_config(**{"explain.layer": "nowhere"}), task.dataset, "full"))
    (run,) = search_runs()
    assert "val_auc" not in run.metrics


def fit_model_with(monkeypatch, at_epoch, action):
    """Lets something happen after an epoch was saved and before it is logged."""
    real = train_module.fit_model

    def fit_model(*arguments, on_epoch, **options):
        def log(epoch, metrics):
            if epoch == at_epoch:
                action()
            on_epoch(epoch, metrics)

        return real(*arguments, on_epoch=log, **options)

    monkeypatch.setattr(train_module, "fit_model", fit_model)


def test_a_run_that_was_interrupted_and_failed_goes_on_as_the_same_run_with_the_same_numbers(
    trained, whole_task, monkeypatch, caplog
):
    """It ends well, and keeps no error of the attempts before."""
    caplog.set_level("INFO", "poster_ml")

    def stop(*arguments, error=KeyboardInterrupt):
        raise error

    with monkeypatch.context() as patch:
        fit_model_with(patch, 2, stop)
        with pytest.raises(KeyboardInterrupt):
            train_task(whole_task)
    (stopped,) = search_runs("attributes.status = 'KILLED'")
    assert stopped.run_id != trained.run_id
    assert f"after an interruption: poster-ml train --resume {stopped.run_id}" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "evaluate_split", lambda *_: stop(error=OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            resume_train(stopped.run_id)
    failed = find_run(stopped.run_id)
    assert (failed.status, failed.tags["error"]) == ("FAILED", "OSError: disk full")
    resumed = resume_train(stopped.run_id)
    assert resumed.run_id == stopped.run_id
    assert resumed.metrics == pytest.approx(trained.metrics, nan_ok=True)
    finished = find_run(stopped.run_id)
    assert finished.status == "FINISHED"
    assert "error" not in finished.tags
    for name in ("val_auc", "loss"):
        whole, parts = (
            mlflow.MlflowClient().get_metric_history(run_id, name)
            for run_id in (trained.run_id, stopped.run_id)
        )
        assert sorted((one.step, one.value) for one in whole) == sorted(
            (one.step, one.value) for one in parts
        )
    with pytest.raises(TrackingError, match="is finished: nothing to resume"):
        resume_train(resumed.run_id)


def test_a_second_process_leaves_a_run_that_is_alive_alone(task, monkeypatch):
    """While it trains, while it is evaluated, and just after its end: refused before the run is touched."""
    real_evaluate, seen = train_module.evaluate_split, []

    def try_to_take():
        (before,) = search_runs()
        with pytest.raises(TrackingError, match=r"another process trains into .* now: wait for it to end"):
            train_task(replace(task, run_id=before.run_id, name="thief"))
        after = find_run(before.run_id)
        assert (after.status, after.tags) == ("RUNNING", before.tags)
        seen.append(before.run_id)

    def evaluate_late(*arguments):
        try_to_take()
        return real_evaluate(*arguments)

    fit_model_with(monkeypatch, 2, try_to_take)
    monkeypatch.setattr(train_module, "evaluate_split", evaluate_late)
    result = train_task(task)
    assert seen == [result.run_id] * 2
    with pytest.raises(TrackingError, match="was finished by another process just now: nothing to do"):
        train_task(replace(task, run_id=result.run_id))
    record = find_run(result.run_id)
    assert (record.status, record.name) == ("FINISHED", task.config.variant)
    assert "error" not in record.tags


def test_a_run_that_mlflow_run_opened_in_another_experiment_points_to_ours(mlflow_place, monkeypatch):
    with mlflow.start_run(experiment_id="0") as outer:
        pass
    monkeypatch.setenv("MLFLOW_RUN_ID", outer.info.run_id)
    with open_run("ours", tags={}, system_metrics=False) as run:
        pass
    assert run.run_id != outer.info.run_id
    tags = mlflow.MlflowClient().get_run(outer.info.run_id).data.tags
    assert tags["poster_ml.run_id"] == run.run_id
