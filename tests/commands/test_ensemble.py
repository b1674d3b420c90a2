"""An ensemble of trained runs: logged, evaluated, evaluated, compared and registered like any other run."""

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
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError
from poster_ml.evaluation.calibration import fit_temperature
from poster_ml.pipeline import evaluate
from poster_ml.pipeline.records import recorded_config, recorded_dataset, recorded_logits
from poster_ml.pipeline.task import Task
from poster_ml.serving.load import load_keras_model
from poster_ml.tracking.runs import find_run, open_run
from tests.commands.datasets import changed_copy
from tests.tiny import tiny_config


def trained(data, **changes) -> str:
    config = tiny_config(**changes)
    return train_task(Task(config, PreparedDataset.open(data), "full")).run_id


@pytest.fixture(scope="module")
def two_runs(tiny_dataset, shared_mlflow_place):
    return [trained(tiny_dataset, seed=seed) for seed in (1, 2)]


def val_logits(run_id):
    record = find_run(run_id)
    return recorded_logits(record, recorded_dataset(record), recorded_config(record))["val"]


def test_a_ensemble_is_a_run_like_any_other(two_runs, tiny_dataset, capsys):
    result = run_ensemble(two_runs, name="pair")
    record = find_run(result.run_id)
    assert (record.name, record.variant, record.status) == ("pair", "pair", "FINISHED")
    assert record.tags["family"] == record.params["model.family"] == "ensemble"
    assert [record.params[f"ensemble.member_{number}.run_id"] for number in (1, 2)] == two_runs
    assert "model.filters" not in record.params
    assert list(result.members.values()) == [0.5, 0.5]
    # The logit is the mean of the members' logits, each divided by its temperature.
    scaled = [val_logits(run) / find_run(run).metrics["temperature"] for run in two_runs]
    np.testing.assert_allclose(val_logits(result.run_id), np.mean(scaled, axis=0), atol=1e-5)
    labels = PreparedDataset.open(tiny_dataset)
    temperature = fit_temperature(np.mean(scaled, axis=0), labels.labels(labels.indices("val")))
    assert record.metrics["temperature"] == pytest.approx(temperature)
    # The logged network computes it too.
    model, settings = load_keras_model(f"runs:/{result.run_id}/model")
    rows = labels.indices("val")[:5]
    given = model.predict_on_batch(np.asarray(labels.images[rows]))[:, 0]
    np.testing.assert_allclose(given, np.mean(scaled, axis=0)[:5], atol=1e-4)
    assert (settings.family, settings.variant) == ("ensemble", "pair")
    # And everything downstream takes it.
    evaluated = run_evaluate(run=result.run_id, split="test")
    assert evaluated.metrics["test_roc_auc"] == find_run(result.run_id).metrics["test_roc_auc"]
    assert run_compare([result.run_id, two_runs[0]], split="val").by_run.posters == len(labels.indices("val"))
    version = run_register("ensemble")
    assert (version.name, version.run_id) == ("poster-ensemble", result.run_id)
    posters = sorted((tiny_dataset.parent / "synthetic" / "posters").glob("*.jpg"))[:2]
    run_predict("models:/poster-ensemble@champion", posters, format="json")
    assert len(json.loads(capsys.readouterr().out)) == 2
    files = {item.path for item in mlflow.MlflowClient().list_artifacts(result.run_id, "explain/val")}
    assert "explain/val/cam_fresh_top8.png" in files


def test_fitted_weights_follow_the_member_that_knows_more(two_runs, monkeypatch):
    real = evaluate.recorded_logits
    labels = recorded_dataset(find_run(two_runs[0]))
    truth = labels.labels(labels.indices("val"))
    noise = np.random.default_rng(0).normal(size=len(truth))

    def told(record, dataset, config):
        assert real(record, dataset, config)["val"].shape == truth.shape
        return {"val": 4.0 * truth - 2 + noise if record.run_id == two_runs[1] else noise}

    monkeypatch.setattr(evaluate, "recorded_logits", told)
    first, second = run_ensemble(two_runs, rule="fitted").members.values()
    assert second > abs(first)


def test_runs_that_do_not_go_together_are_refused(two_runs, tiny_dataset, tmp_path):
    with pytest.raises(ConfigError, match="ensemble needs at least two different runs, received"):
        run_ensemble([two_runs[0], two_runs[0]])
    other = trained(changed_copy(tiny_dataset, tmp_path / "copy"))
    with pytest.raises(ConfigError, match="must share one dataset; fingerprints: basic_cnn"):
        run_ensemble([two_runs[0], other])
    few, others = trained(tiny_dataset, max_samples=60), trained(tiny_dataset, max_samples=60, seed=7)
    for pair in ([two_runs[0], few], [few, others]):  # as many posters, but not the same
        with pytest.raises(
            ConfigError, match="must have used the same validation posters: train them without"
        ):
            run_ensemble(pair)
    with pytest.raises(ConfigError, match="--name is empty"):
        run_ensemble(two_runs, name=" ")
    with open_run("suite", tags={"kind": "suite"}) as suite:
        pass
    with pytest.raises(
        ConfigError, match=r"suite \w+ is no training run: give the ids of runs that `train` made"
    ):
        run_ensemble([two_runs[0], suite.run_id])
    mlflow.MlflowClient().set_terminated(two_runs[1], "KILLED")
    with pytest.raises(ConfigError, match="is KILLED: give finished runs; `poster-ml train --resume"):
        run_ensemble(two_runs)
    mlflow.MlflowClient().set_terminated(two_runs[1], "FINISHED")
