"""A tiny network, a store under a temporary folder, and pictures to score."""

import warnings
from typing import Any

import mlflow
import numpy as np
import pytest

from tests.evaluation.worlds import movies
from tests.pictures import encode, poster

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints while it is imported
    import mlflow.pyfunc

SIZE = 32


def tiny_network(seed: int = 0) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1")(x)
    x = keras.layers.MaxPooling2D(4)(x)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1, dtype="float32", name="logit")(x))


@pytest.fixture(scope="session")
def reference():
    """What travels with the tiny network: 200 validation posters, 300 neighbours, models of year and genres."""
    from poster_ml.evaluation.combined import CombinedModel
    from poster_ml.serving.reference import Neighbours, Reference

    train, validation = movies(300, 1), movies(200, 2)
    logits = np.random.default_rng(3).normal(validation["label"] - 0.5, 0.7)
    combined = CombinedModel.fit(train, validation, 1 / (1 + np.exp(-logits)), seed=0)
    features = np.random.default_rng(4).normal(
        size=(300, 4)
    )  # as wide as the tiny network's last convolution
    return Reference(validation.assign(logit=logits), combined, Neighbours.of(features, train))


@pytest.fixture(scope="module")
def logged(shared_mlflow_store, reference):
    """The tiny network, logged in a run: mlflow's ModelInfo."""
    from poster_ml.serving.log import log_poster_model

    with mlflow.start_run():
        return log_poster_model(
            tiny_network(),
            size=SIZE,
            threshold=0.4,
            temperature=2.0,
            variant="basic_cnn",
            family="cnn",
            reference=reference,
        )


@pytest.fixture(scope="session")
def make_picture():
    """The bytes of an image file of a random picture."""

    def picture(seed: int = 0, width: int = 60, height: int = 90, kind: str = "JPEG") -> bytes:
        return encode(poster(seed, width, height), kind)

    return picture


@pytest.fixture(scope="session")
def make_network():
    """The function `tiny_network`."""
    return tiny_network
