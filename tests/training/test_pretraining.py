"""The first lesson: what it changes, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from poster_ml.config import TrainConfig
from poster_ml.errors import ConfigError
from poster_ml.training.batches import Samples
from poster_ml.training.pretraining import pretrain

SETTINGS = TrainConfig(pretrain_epochs=30, learning_rate=1e-2, optimizer="adam", batch_size=16)


def network(hidden: bool = True) -> Any:
    keras.utils.set_random_seed(3)
    features = keras.Input((6,))
    values = keras.layers.Dense(8, activation="relu", name="dense_1")(features) if hidden else features
    return keras.Model(features, keras.layers.Dense(1, name="logit")(values))


def samples() -> tuple[Samples, np.ndarray]:
    features = np.random.default_rng(0).normal(size=(160, 6)).astype("float32")
    targets = np.stack([features[:, 0] + features[:, 1], features[:, 2]], axis=1)
    scaled = (targets / targets.std(axis=0)).astype("float32")
    return Samples(features, np.arange(160), np.zeros(160, dtype=int)), scaled


def test_the_hidden_layer_learns_the_targets_and_the_logit_is_left_alone() -> None:
    model = network()
    before = {layer.name: [np.array(value) for value in layer.get_weights()] for layer in model.layers}
    errors = pretrain(model, *samples(), SETTINGS, seed=1)
    assert len(errors) == 30
    assert errors[-1] < 0.2 < errors[0]  # 1: guessing the mean
    assert not np.allclose(model.get_layer("dense_1").get_weights()[0], before["dense_1"][0])
    np.testing.assert_array_equal(model.get_layer("logit").get_weights()[0], before["logit"][0])
    assert [layer.name for layer in model.layers][-1] == "logit", "the model itself has no second output"


def test_the_same_seed_gives_the_same_lesson() -> None:
    first, second, other = network(), network(), network()
    assert pretrain(first, *samples(), SETTINGS, seed=1) == pretrain(second, *samples(), SETTINGS, seed=1)
    pretrain(other, *samples(), SETTINGS, seed=2)
    weights = [model.get_layer("dense_1").get_weights()[0] for model in (first, second, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2])


def test_a_linear_head_has_nothing_to_pretrain() -> None:
    with pytest.raises(ConfigError, match="needs something to train below the logit"):
        pretrain(network(hidden=False), *samples(), SETTINGS, seed=1)
