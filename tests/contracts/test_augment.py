"""What every augmentation layer must satisfy, on every backend."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.augment.affine import RandomAffine
from poster_ml.augment.base import RandomPosterLayer
from poster_ml.augment.colour import RandomBrightness, RandomColourLayer, RandomContrast, RandomSaturation
from poster_ml.augment.erasing import RandomErasing

LAYERS = {
    "affine": lambda: RandomAffine(50.0, 0.3, 0.2, 0.2, True, seed=7),
    "affine_reflect": lambda: RandomAffine(20.0, 0.1, 0.1, 5.0, fill="reflect", strength=0.5, seed=7),
    "affine_constant": lambda: RandomAffine(20.0, fill="constant", seed=7),
    "brightness": lambda: RandomBrightness(1.0, seed=7),
    "contrast": lambda: RandomContrast(1.0, seed=7),
    "saturation": lambda: RandomSaturation(1.0, seed=7),
    "erasing": lambda: RandomErasing(0.9, seed=7),
}
POSTERS = np.random.default_rng(3).integers(0, 256, (8, 22, 15, 3)).astype("uint8")

each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))


def run(layer, images: np.ndarray = POSTERS, training: bool = True) -> np.ndarray:
    return ops.convert_to_numpy(layer(images, training=training))


def test_every_layer_is_covered():
    kinds = {*RandomPosterLayer.__subclasses__(), *RandomColourLayer.__subclasses__()}
    assert {type(make()) for make in LAYERS.values()} == kinds - {RandomColourLayer}


@each_layer
def test_gives_back_the_posters_when_not_training(make):
    result = run(make(), training=False)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, POSTERS)


@each_layer
def test_changes_posters_within_0_to_255(make):
    result = run(make())
    assert result.shape == POSTERS.shape
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 255.001
    assert np.abs(result - POSTERS).max() > 1


@each_layer
def test_takes_floats_like_bytes(make):
    np.testing.assert_array_equal(run(make()), run(make(), POSTERS.astype("float32")))


@each_layer
def test_repeats_with_the_seed_and_differs_per_call_and_poster(make):
    same = np.repeat(POSTERS[:1], 8, axis=0)
    layer = make()
    first, second = run(layer, same), run(layer, same)
    assert np.abs(first - second).max() > 1
    assert np.abs(first[:1] - first[1:]).max() > 1
    np.testing.assert_array_equal(first, run(make(), same))
    other = type(layer).from_config({**layer.get_config(), "seed": 8})
    assert np.abs(first - run(other, same)).max() > 1


@each_layer
def test_configuration_survives_a_round_trip(make):
    layer = make()
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert keras.saving.get_registered_name(type(layer)).startswith("poster_ml>")
    np.testing.assert_array_equal(run(layer), run(again))


def test_all_work_inside_a_saved_model_in_fit_and_predict(tmp_path):
    inputs = images = keras.Input((22, 15, 3), dtype="uint8")
    for make in LAYERS.values():
        images = make()(images)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(images)))
    model.compile(optimizer="sgd", loss="mse")
    model.fit(POSTERS, np.zeros((8, 1)), batch_size=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        model.predict(POSTERS, verbose=0), loaded.predict(POSTERS, verbose=0), rtol=1e-5
    )
