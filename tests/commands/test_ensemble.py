"""An ensemble of trained runs: logged, evaluated, compared and registered like any other run."""

import json

import mlflow
import numpy as np
import pytest

from poster_ml.commands.compare import run_compare
from poster_ml.commands.ensemble import run_ensemble
from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.predict import run_predict
from poster_ml.commands.register import run_register
from poster_ml.commands.train import train_task
from poster_ml.config import replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError
from poster_ml.evaluation.calibration import fit_temperature
from poster_ml.pipeline import evaluate, members
from poster_ml.pipeline.records import recorded_config, recorded_dataset, recorded_logits
from poster_ml.pipeline.task import Task
from poster_ml.serving.load import load_keras_model
from poster_ml.tracking.runs import find_run, open_run
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def two_runs(tiny_dataset, shared_mlflow_place, undrawn):
    dataset = PreparedDataset.open(tiny_dataset)
    return [train_task(Task(tiny_config(seed=seed), dataset, "full")).run_id for seed in (1, 2)]


def val_logits(run_id):
    record = find_run(run_id)
    return recorded_logits(record, recorded_dataset(record), recorded_config(record))["val"]


def test_an_ensemble_is_a_run_like_any_other(two_runs, tiny_dataset, capsys):
    result = run_ensemble(two_runs, name="pair")
    record = find_run(result.run_id)
    assert (record.name, record.variant, record.status) == ("pair", "pair", "FINISHED")
    assert record.tags["family"] == record.params["model.family"] == "ensemble"
    assert [record.params[f"ensemble.member_{number}.run_id"] for number in (1, 2)] == two_runs
    assert "model.filters" not in record.params
    assert list(result.members.values()) == [0.5, 0.5]
    # The logit is the mean of the members' logits, each divided by its temperature.
    mean = np.mean([val_logits(run) / find_run(run).metrics["temperature"] for run in two_runs], axis=0)
    np.testing.assert_allclose(val_logits(result.run_id), mean, atol=1e-5)
    dataset = PreparedDataset.open(tiny_dataset)
    rows = dataset.indices("val")
    assert record.metrics["temperature"] == pytest.approx(fit_temperature(mean, dataset.labels(rows)))
    # The logged network computes it too.
    model, settings = load_keras_model(f"runs:/{result.run_id}/model")
    given = model.predict_on_batch(np.asarray(dataset.images[rows[:5]]))[:, 0]
    np.testing.assert_allclose(given, mean[:5], atol=1e-4)
    assert (settings.family, settings.variant) == ("ensemble", "pair")
    # And everything downstream takes it.
    evaluated = run_evaluate(run=result.run_id, split="test")
    assert evaluated.metrics["test_roc_auc"] == find_run(result.run_id).metrics["test_roc_auc"]
    assert run_compare([result.run_id, two_runs[0]], split="val").by_run.posters == len(rows)
    version = run_register("ensemble")
    assert (version.name, version.run_id) == ("poster-ensemble", result.run_id)
    posters = sorted((tiny_dataset.parent / "synthetic" / "posters").glob("*.jpg"))[:2]
    run_predict("models:/poster-ensemble@champion", posters, format="json")
    assert len(json.loads(capsys.readouterr().out)) == 2
    files = {item.path for item in mlflow.MlflowClient().list_artifacts(result.run_id, "explain/val")}
    assert "explain/val/cam_fresh_top8.png" in files


def test_fitted_weights_follow_the_member_that_knows_more(two_runs, monkeypatch):
    labels = recorded_dataset(find_run(two_runs[0]))
    truth = labels.labels(labels.indices("val"))
    noise = np.random.default_rng(0).normal(size=len(truth))

    def told(record, dataset, config):
        return {"val": 4.0 * truth - 2 + noise if record.run_id == two_runs[1] else noise}

    monkeypatch.setattr(evaluate, "recorded_logits", told)
    first, second = run_ensemble(two_runs, rule="fitted").members.values()
    assert second > abs(first)


@pytest.fixture
def run_like(two_runs):
    """Logs a finished run that says of itself what the first one says, but for some tags."""
    own = find_run(two_runs[0]).tags["dataset.fingerprint"]

    def make(**tags):
        with open_run("other", tags={"dataset.fingerprint": own} | tags, system_metrics=False) as run:
            run.log_params({"model.family": "cnn"})
        return run.run_id

    return make


def test_runs_that_do_not_go_together_are_refused(two_runs, run_like):
    first, second = two_runs
    with open_run("suite", tags={"kind": "suite"}, system_metrics=False) as suite:
        pass
    for runs, message in (
        ([first, first], "ensemble needs at least two different runs, received"),
        (
            [first, run_like(**{"dataset.fingerprint": "b" * 64})],
            "must share one dataset; fingerprints: basic_cnn",
        ),
        ([run_like(fold="1/3"), run_like(fold="2/3")], "must share one fold, or none have one; folds: other"),
        ([first, suite.run_id], r"suite \w+ is not a training run: give the ids of runs that `train` made"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_ensemble(runs)
    with pytest.raises(ConfigError, match="--name is empty"):
        run_ensemble(two_runs, name=" ")
    mlflow.MlflowClient().set_terminated(second, "KILLED")
    with pytest.raises(ConfigError, match="is KILLED: give finished runs; `poster-ml train --resume"):
        run_ensemble(two_runs)
    mlflow.MlflowClient().set_terminated(second, "FINISHED")


@pytest.mark.parametrize("limits", [(60, 0), (60, 60)])  # the seeds differ: as many posters, but not the same
def test_runs_of_other_validation_posters_are_refused(two_runs, monkeypatch, limits):
    own = dict(zip(two_runs, limits, strict=True))
    monkeypatch.setattr(
        members,
        "recorded_config",
        lambda record: replace(recorded_config(record), max_samples=own[record.run_id]),
    )
    with pytest.raises(ConfigError, match="must have used the same validation posters: train them without"):
        run_ensemble(two_runs)
