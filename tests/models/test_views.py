"""A network that averages over views gives the mean of what it says of each of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.augment.views import FixedViews, draw_view_maps
from poster_ml.models.build import build_model
from poster_ml.models.views import build_view_average, view_average

POSTERS = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype("uint8")
MAPS = draw_view_maps(4, 40, 1, rotation=10, zoom=0.2, shift=0.1)


def logits(model: keras.Model, posters: np.ndarray = POSTERS) -> np.ndarray:
    return ops.convert_to_numpy(model(posters, training=False))


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return build_model("cnn", input_shape=(40, 40, 3), filters=(4, 8), dense=(6,), dropout=0.5, seed=1)


@pytest.fixture(scope="module")
def averaged(network: keras.Model) -> keras.Model:
    return build_view_average(network, FixedViews(MAPS))


def test_the_logit_is_the_mean_over_the_views(network: keras.Model, averaged: keras.Model) -> None:
    views = FixedViews(MAPS)
    each = [logits(network, ops.convert_to_numpy(views(POSTERS, view=number))) for number in range(4)]
    assert (averaged.input.dtype, averaged.output_shape) == ("uint8", (None, 1))
    np.testing.assert_allclose(
        logits(averaged), np.mean(each, axis=0), atol=1e-4
    )  # a pixel may be rounded the other way
    np.testing.assert_allclose(each[0], logits(network), rtol=1e-6)  # the first view is the poster as it is
    assert np.abs(each[1] - each[0]).max() > 1e-2, "the other views must differ, or nothing is tested here"


def test_it_is_never_trained_and_drops_nothing(averaged: keras.Model) -> None:
    assert not averaged.trainable_weights
    once = ops.convert_to_numpy(averaged(POSTERS, training=True))
    np.testing.assert_allclose(once, logits(averaged), rtol=1e-6)


def test_it_is_saved_and_loaded(averaged: keras.Model, network: keras.Model, tmp_path) -> None:
    averaged.save(tmp_path / "averaged.keras")
    loaded = keras.models.load_model(tmp_path / "averaged.keras")
    np.testing.assert_allclose(logits(loaded), logits(averaged), rtol=1e-6)
    np.testing.assert_allclose(loaded.predict(POSTERS, verbose=0), logits(averaged), atol=1e-4)
    layer = view_average(loaded)
    assert layer is not None
    np.testing.assert_array_equal(layer.views.maps, MAPS)
    np.testing.assert_allclose(logits(layer.network), logits(network), rtol=1e-6)
    assert view_average(network) is None
