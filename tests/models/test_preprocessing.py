"""Pixels as each family's weights expect them."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.models.catalogue import FAMILIES
from poster_ml.models.preprocessing import PosterPreprocessing

POSTERS = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype("uint8")


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.has_backbone])
def test_does_what_keras_does_for_the_family(name):
    expected = getattr(keras.applications, name).preprocess_input(POSTERS.astype("float32"))
    ours = ops.convert_to_numpy(PosterPreprocessing(FAMILIES[name].scale)(POSTERS))
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert ours.dtype == np.float32


def test_unit_divides_by_255_and_takes_floats():
    layer = PosterPreprocessing("unit")
    np.testing.assert_allclose(ops.convert_to_numpy(layer(POSTERS)), POSTERS / 255.0, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(POSTERS + 0.5)), (POSTERS + 0.5) / 255.0, atol=1e-6)
