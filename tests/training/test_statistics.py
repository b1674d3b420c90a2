"""Statistics come from the training posters, whether features are cached or the whole network is run."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.models.standardize import StandardizeFeatures
from poster_ml.training.batches import Samples
from poster_ml.training.statistics import set_statistics

POSTERS = np.random.default_rng(0).integers(0, 256, (21, 8, 6, 3)).astype("uint8")


def network() -> keras.Model:
    poster = keras.Input((8, 6, 3), dtype="uint8", name="poster")
    values = keras.layers.GlobalAveragePooling2D(name="pool")(
        keras.layers.Rescaling(1.0, name="scaled")(poster)
    )
    return keras.Model(
        poster, keras.layers.Dense(1, name="logit")(StandardizeFeatures(name="standardize")(values))
    )


def mean_of(model: keras.Model) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(model.get_layer("standardize").mean))


def test_only_the_chosen_rows_count_for_the_whole_network():
    model, rows = network(), np.array([20, 3, 5])
    set_statistics(model, Samples(POSTERS, rows, np.zeros(3)), batch_size=2)
    np.testing.assert_allclose(mean_of(model), POSTERS[rows].mean(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("cut", ["scaled", "pool"])
def test_cached_features_give_the_same_statistics(cut):
    model = network()
    pooled = POSTERS.mean(axis=(1, 2)).astype("float32")
    features = pooled if cut == "pool" else POSTERS.astype("float32")
    set_statistics(model, Samples(features, np.arange(21), np.zeros(21)), cut, batch_size=4)
    np.testing.assert_allclose(mean_of(model), pooled.mean(axis=0), rtol=1e-5)
    spread = ops.convert_to_numpy(model.get_layer("standardize").deviation)
    np.testing.assert_allclose(spread, pooled.std(axis=0), rtol=1e-4)
