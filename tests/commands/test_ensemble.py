"""Trained runs serve what was measured; their ensemble is a run like any other."""

import base64
import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

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
from poster_ml.serving.load import load_keras_model, load_poster_model
from poster_ml.tracking.runs import fetched, find_run, open_run
from tests.pictures import encode
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    return PreparedDataset.open(tiny_dataset)


@pytest.fixture(scope="module")
def two_runs(dataset, shared_mlflow_place, undrawn):
    return [train_task(Task(tiny_config(seed=seed), dataset, "full")).run_id for seed in (1, 2)]


@pytest.fixture(scope="module")
def pair(two_runs):
    return run_ensemble(two_runs, name="pair")


def request(dataset: PreparedDataset, rows: np.ndarray) -> pd.DataFrame:
    """The prepared posters as files that decode to the same pixels."""
    files = (encode(Image.fromarray(np.asarray(dataset.images[row]))) for row in rows)
    images = [base64.b64encode(file).decode() for file in files]
    facts = dataset.index.iloc[rows][["year", "genres"]].reset_index(drop=True)
    return facts.assign(image=images).astype({"year": object})


def nearest(run_id: str, dataset: PreparedDataset) -> None:
    """Asserts that training posters find themselves first."""
    rows = dataset.indices("train")[:5]
    model = load_poster_model(f"runs:/{run_id}/model")
    answer = model.predict(request(dataset, rows), {"neighbours": 2})
    found = [one[0] for one in answer["neighbours"]]
    assert [one["movie_id"] for one in found] == dataset.index["movie_id"].iloc[rows].tolist()
    assert all(one["cosine"] > 0.99 for one in found)


def test_what_is_served_is_what_was_measured(two_runs, dataset):
    run_id, _ = two_runs
    metrics = run_evaluate(run=run_id, split="test").metrics
    answer = load_poster_model(f"runs:/{run_id}/model").predict(request(dataset, dataset.indices("test")))
    with fetched(run_id, "evaluation/test/predictions.csv") as file:
        table = pd.read_csv(file)
    for served, measured in (
        ("probability_fresh", "probability"),
        ("probability_metadata", "probability_metadata"),
        ("probability_combined", "probability_combined"),
    ):
        np.testing.assert_allclose(answer[served].astype(float), table[measured], atol=1e-6)
    with fetched(run_id, "evaluation/test/scores.csv") as file:
        scores = pd.read_csv(file, index_col="model")
    assert scores.index.tolist() == ["poster", "metadata", "combined"]
    for name in ("roc_auc", "accuracy", "log_loss", "brier", "ece", "roc_auc_ci_low"):
        assert metrics[f"test_combined_{name}"] == pytest.approx(scores.loc["combined", name], abs=1e-6)
    assert scores.loc["poster", "roc_auc"] == pytest.approx(metrics["test_roc_auc"], abs=1e-6)


def test_on_validation_the_combination_is_cross_fitted_and_says_so(two_runs):
    with fetched(two_runs[1], "report.html") as file:
        page = file.read_text()
    assert "Combined, cross-fitted on these posters" in page
    with fetched(two_runs[0], "evaluation/val/scores.csv") as file:
        assert pd.read_csv(file)["model"].tolist() == ["poster", "metadata", "combined"]


def test_a_training_poster_is_its_own_neighbour_also_in_an_ensemble(two_runs, pair, dataset):
    nearest(two_runs[0], dataset)
    nearest(pair.run_id, dataset)


def val_logits(run_id):
    record = find_run(run_id)
    return recorded_logits(record, recorded_dataset(record), recorded_config(record))["val"]


def test_an_ensemble_is_a_run_like_any_other(two_runs, pair, dataset, tiny_dataset, capsys):
    record = find_run(pair.run_id)
    assert (record.name, record.variant, record.status) == ("pair", "pair", "FINISHED")
    assert record.tags["family"] == record.params["model.family"] == "ensemble"
    assert [record.params[f"ensemble.member_{number}.run_id"] for number in (1, 2)] == two_runs
    assert "model.filters" not in record.params
    assert list(pair.members.values()) == [0.5, 0.5]
    # The logit is the mean of the members' logits, each divided by its temperature.
    mean = np.mean([val_logits(run) / find_run(run).metrics["temperature"] for run in two_runs], axis=0)
    np.testing.assert_allclose(val_logits(pair.run_id), mean, atol=1e-5)
    rows = dataset.indices("val")
    assert record.metrics["temperature"] == pytest.approx(fit_temperature(mean, dataset.labels(rows)))
    # The logged network computes it too.
    model, settings = load_keras_model(f"runs:/{pair.run_id}/model")
    given = model.predict_on_batch(np.asarray(dataset.images[rows[:5]]))[:, 0]
    np.testing.assert_allclose(given, mean[:5], atol=1e-4)
    assert (settings.family, settings.variant) == ("ensemble", "pair")
    # And everything downstream takes it.
    evaluated = run_evaluate(run=pair.run_id, split="test")
    assert evaluated.metrics["test_roc_auc"] == find_run(pair.run_id).metrics["test_roc_auc"]
    assert run_compare([pair.run_id, two_runs[0]], split="val").by_run.posters == len(rows)
    version = run_register("ensemble")
    assert (version.name, version.run_id) == ("poster-ensemble", pair.run_id)
    posters = sorted((tiny_dataset.parent / "synthetic" / "posters").glob("*.jpg"))[:2]
    run_predict("models:/poster-ensemble@champion", posters, format="json")
    assert len(json.loads(capsys.readouterr().out)) == 2
    files = {item.path for item in mlflow.MlflowClient().list_artifacts(pair.run_id, "explain/val")}
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
