"""An ensemble computes the weighted sum of its members' logits."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.models.build import Architecture, build_model
from poster_ml.models.ensemble import build_ensemble, ensemble_members

POSTERS = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3)).astype("uint8")


def member(seed: int, shape=(40, 52, 3)) -> keras.Model:
    architecture = Architecture("cnn", shape, filters=(4, 8), dense=(6,), dropout=0.2, pooling="average")
    return build_model(architecture, seed=seed)


def logits(model: keras.Model) -> np.ndarray:
    return ops.convert_to_numpy(model(POSTERS, training=False))


@pytest.fixture(scope="module")
def members():
    return [member(1), member(2)]


def test_the_logit_is_the_weighted_sum_and_the_bias(members):
    ensemble = build_ensemble(members, [0.75, -2.0], bias=0.5)
    found = (ensemble.input.name, ensemble.input.dtype, ensemble.input_shape)
    assert found == ("poster", "uint8", (None, 40, 52, 3))
    assert ensemble.output_shape == (None, 1)
    expected = 0.75 * logits(members[0]) - 2.0 * logits(members[1]) + 0.5
    np.testing.assert_allclose(logits(ensemble), expected, rtol=1e-5, atol=1e-6)
    assert not ensemble.trainable_weights


def test_it_is_saved_and_loaded_and_knows_its_members(members, tmp_path):
    ensemble = build_ensemble([*members, member(3)], [0.5, 0.3, 0.2])
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    np.testing.assert_allclose(logits(loaded), logits(ensemble), rtol=1e-6)
    found = ensemble_members(loaded)
    np.testing.assert_allclose([weight for _, weight in found], [0.5, 0.3, 0.2], rtol=1e-6)
    np.testing.assert_allclose(logits(found[1][0]), logits(members[1]), rtol=1e-5)
    assert ensemble_members(members[0]) == []
