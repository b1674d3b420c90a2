"""The training posters a model is logged with; `commands/test_ensemble` asks for them again."""

from types import SimpleNamespace

import numpy as np
import pytest

from poster_ml.data.prepared import PreparedDataset
from poster_ml.explain.likeness import PooledFeatures
from poster_ml.models.freezing import split_at
from poster_ml.pipeline import neighbours as module
from poster_ml.pipeline.fit import TrainedModel, build_network
from poster_ml.pipeline.neighbours import training_neighbours
from poster_ml.training.batches import Samples
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    return PreparedDataset.open(tiny_dataset)


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
