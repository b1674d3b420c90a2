"""What a trained model is logged with: scores that `evaluate` measured, and neighbours that it finds again."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.commands.ensemble import run_ensemble
from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.train import train_task
from poster_ml.data.prepared import PreparedDataset
from poster_ml.explain.likeness import PooledFeatures
from poster_ml.models.freezing import split_at
from poster_ml.pipeline import neighbours as module
from poster_ml.pipeline.fit import TrainedModel, build_network
from poster_ml.pipeline.neighbours import training_neighbours
from poster_ml.pipeline.task import Task
from poster_ml.serving.load import load_poster_model
from poster_ml.tracking.runs import fetched
from poster_ml.training.batches import Samples
from tests.tiny import tiny_config


def trained(dataset: PreparedDataset, **changes) -> str:
    config = tiny_config(**changes)
    return train_task(Task(config, dataset, "full")).run_id


def request(dataset: PreparedDataset, rows: np.ndarray) -> pd.DataFrame:
    """The prepared posters as files that decode to the same pixels."""
    images = []
    for row in rows:
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(dataset.images[row])).save(buffer, format="PNG")
        images.append(base64.b64encode(buffer.getvalue()).decode())
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


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> PreparedDataset:
    return PreparedDataset.open(tiny_dataset)


@pytest.fixture(scope="module")
def runs(dataset, shared_mlflow_place, undrawn) -> list[str]:
    return [trained(dataset, seed=seed) for seed in (1, 2)]


def test_what_is_served_is_what_was_measured(runs, dataset):
    metrics = run_evaluate(run=runs[0], split="test").metrics
    answer = load_poster_model(f"runs:/{runs[0]}/model").predict(request(dataset, dataset.indices("test")))
    with fetched(runs[0], "evaluation/test/predictions.csv") as file:
        table = pd.read_csv(file)
    for served, measured in (
        ("probability_fresh", "probability"),
        ("probability_metadata", "probability_metadata"),
        ("probability_combined", "probability_combined"),
    ):
        np.testing.assert_allclose(answer[served].astype(float), table[measured], atol=1e-6)
    with fetched(runs[0], "evaluation/test/scores.csv") as file:
        scores = pd.read_csv(file, index_col="model")
    assert scores.index.tolist() == ["poster", "metadata", "combined"]
    for name in ("roc_auc", "accuracy", "log_loss", "brier", "ece", "roc_auc_ci_low"):
        assert metrics[f"test_combined_{name}"] == pytest.approx(scores.loc["combined", name], abs=1e-6)
    assert scores.loc["poster", "roc_auc"] == pytest.approx(metrics["test_roc_auc"], abs=1e-6)


def test_on_validation_the_combination_is_cross_fitted_and_says_so(runs):
    with fetched(runs[1], "report.html") as file:
        page = file.read_text()
    assert "Combined, cross-fitted on these posters" in page
    with fetched(runs[0], "evaluation/val/scores.csv") as file:
        assert pd.read_csv(file)["model"].tolist() == ["poster", "metadata", "combined"]


def test_a_training_poster_is_its_own_neighbour_also_in_an_ensemble(runs, dataset):
    nearest(runs[0], dataset)
    nearest(run_ensemble(runs, name="pair").run_id, dataset)


@pytest.mark.parametrize(
    ("pooling", "cut", "found"),
    [("average", "average_pool", True), ("flatten", "flatten", True), ("flatten", "pool_2", True),
     ("flatten", "conv_1", True), ("flatten", "dense_1", False)],
)  # fmt: skip
def test_features_that_were_fitted_on_are_taken_and_no_frozen_layer_runs_again(
    dataset, monkeypatch, caplog, pooling, cut, found
):
    config = tiny_config(**{"model.pooling": pooling})
    network = build_network(config, dataset.size, "none")
    rows = dataset.indices("train")
    kept = split_at(network, cut)[0].predict(np.asarray(dataset.images[rows]), verbose=0)
    learned = Samples(kept, np.arange(len(rows)), dataset.labels(rows))
    inputs = SimpleNamespace(train=learned, cut=cut)
    trained = TrainedModel(network, SimpleNamespace(inputs=inputs), rows)

    def above_only(model, images, rows):
        assert images is kept, "a second pass"
        return computed(model, images, rows)

    computed = module._computed
    monkeypatch.setattr(module, "_computed", above_only)
    caplog.set_level("INFO")
    neighbours = training_neighbours(trained, config, dataset)
    assert (neighbours is not None) == found
    assert (f"frozen features are those of {cut}, not of its last map pool_2" in caplog.text) != found
    if neighbours is not None:
        expected = PooledFeatures(network)(np.asarray(dataset.images[rows[:5]]))
        for row, (first,) in enumerate(neighbours.nearest(expected, 1)):
            assert first["movie_id"] == dataset.index["movie_id"].iloc[rows[row]]
            assert first["cosine"] > 0.99
