"""Feature layers join lower layers to the pooled output; standardisation brings all of it to one scale."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.errors import UnknownLayerError
from poster_ml.models.build import Architecture, build_model
from poster_ml.models.freezing import (
    FEATURE_POOL,
    apply_unfreeze,
    backbone_layers,
    blocks,
    frozen_cut,
    split_at,
)
from poster_ml.models.standardize import StandardizeFeatures

POSTERS = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3)).astype("uint8")
LOWER_LAYERS = ("block3_pool", "block4_pool")


def small(pooling: str = "average", **options) -> keras.Model:
    architecture = Architecture("vgg16", (40, 52, 3), dense=(), pooling=pooling, **options)
    return build_model(architecture, weights="none")


@pytest.fixture(scope="module")
def network():
    return small(feature_layers=LOWER_LAYERS, standardize=True)


@pytest.mark.parametrize("pooling", ["average", "average_maximum"])
def test_the_vector_is_the_averages_of_all_layers_then_their_maxima(pooling):
    model = small(pooling=pooling, feature_layers=LOWER_LAYERS)
    layers = [model.get_layer(name).output for name in ("block5_pool", *LOWER_LAYERS)]
    *outputs, joined = keras.Model(model.input, [*layers, model.get_layer("joined_features").output])(POSTERS)
    maps = [ops.convert_to_numpy(output) for output in outputs]
    expected = [one.mean(axis=(1, 2)) for one in maps]
    if pooling == "average_maximum":
        expected += [one.max(axis=(1, 2)) for one in maps]
    vector = np.concatenate(expected, axis=1)
    assert vector.shape[1] == (512 + 256 + 512) * (2 if pooling == "average_maximum" else 1)
    np.testing.assert_allclose(ops.convert_to_numpy(joined), vector, rtol=1e-4, atol=1e-5)
    assert frozen_cut(model) == "joined_features"
    assert not [name for name in backbone_layers(model) if name.startswith(FEATURE_POOL)]


def test_the_frozen_part_ends_under_the_standardisation_and_splits_there(network):
    assert frozen_cut(network) == "joined_features"
    assert frozen_cut(small(standardize=True)) == "average_pool"
    prefix, suffix = split_at(network, "joined_features")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(suffix(prefix(POSTERS))), ops.convert_to_numpy(network(POSTERS, training=False))
    )
    assert [layer.name for layer in network.layers if layer.trainable_weights] == ["logit"]


def test_feature_layers_are_no_part_of_the_backbone_and_can_be_trained_above(network):
    assert list(blocks(network))[-1] == "block5"
    model = small(feature_layers=LOWER_LAYERS)
    apply_unfreeze(model, ["block5"])
    # The lowest feature layer is on every path; what is above it is gone around.
    assert frozen_cut(model) == LOWER_LAYERS[0]
    assert model.get_layer("block5_conv3").trainable_weights


def test_a_network_with_feature_layers_is_saved_and_loaded_with_its_statistics(network, tmp_path):
    features = np.random.default_rng(1).normal(3.0, 2.0, (50, 1280)).astype("float32")
    network.get_layer("standardize").set_statistics(features)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(POSTERS, training=False)),
        ops.convert_to_numpy(network(POSTERS, training=False)),
        rtol=1e-5,
    )


def test_statistics_give_mean_zero_and_deviation_one_and_leave_dead_channels():
    layer = StandardizeFeatures()
    features = np.random.default_rng(0).normal(5.0, 100.0, (200, 3)).astype("float32")
    features[:, 1] = 7.0
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(features)), features)  # before: nothing
    layer.set_statistics(features)
    out = ops.convert_to_numpy(layer(features))
    np.testing.assert_allclose(out.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=0), [1.0, 0.0, 1.0], atol=1e-5)
    for wrong in (features[:1], features[:, :2], features[0]):
        with pytest.raises(ValueError, match=r"features must be \(n >= 2, 3\)"):
            layer.set_statistics(wrong)


def test_feature_layers_that_cannot_be_had_are_refused():
    said = r"'block3_pol' with features below its output layer 'block5_pool' \(did you mean 'block3_pool'\?\)"
    with pytest.raises(UnknownLayerError, match=f"no layer {said}"):
        small(feature_layers=("block3_pol",))
    with pytest.raises(UnknownLayerError, match="below its output layer 'block3_pool'"):
        small(feature_layers=("block4_pool",), output_layer="block3_pool")
