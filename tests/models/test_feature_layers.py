"""Feature layers join lower layers to the pooled output; standardisation brings all of it to one scale."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.errors import UnknownLayerError
from poster_ml.models.build import Architecture, build_model
from poster_ml.models.freezing import apply_unfreeze, backbone_layers, blocks, frozen_cut, split_at
from poster_ml.models.standardize import StandardizeFeatures

POSTERS = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3)).astype("uint8")
LOWER_LAYERS = ("block_6_project_BN", "block_13_project_BN")


def small(**options) -> keras.Model:
    architecture = Architecture("mobilenet_v2", (40, 52, 3), dense=(), pooling="average", **options)
    return build_model(architecture, weights="none")


@pytest.fixture(scope="module")
def tapped():
    return small(feature_layers=LOWER_LAYERS, standardize=True)


def test_the_vector_is_the_pooled_end_then_every_tap_averaged_over_its_places(tapped):
    names = ["out_relu", *LOWER_LAYERS]
    outputs = keras.Model(tapped.input, [tapped.get_layer(name).output for name in names])(POSTERS)
    expected = np.concatenate([ops.convert_to_numpy(output).mean(axis=(1, 2)) for output in outputs], axis=1)
    joined = keras.Model(tapped.input, tapped.get_layer("joined_features").output)(POSTERS)
    assert joined.shape == (3, 1280 + 64 + 160)
    np.testing.assert_allclose(ops.convert_to_numpy(joined), expected, rtol=1e-4, atol=1e-5)


def test_maxima_of_all_layers_stand_behind_their_averages():
    architecture = Architecture(
        "mobilenet_v2", (40, 52, 3), dense=(), pooling="average_maximum", feature_layers=LOWER_LAYERS
    )
    model = build_model(architecture, weights="none")
    outputs = keras.Model(model.input, [model.get_layer(n).output for n in ("out_relu", *LOWER_LAYERS)])(
        POSTERS
    )
    maps = [ops.convert_to_numpy(output) for output in outputs]
    expected = [*(one.mean(axis=(1, 2)) for one in maps), *(one.max(axis=(1, 2)) for one in maps)]
    joined = keras.Model(model.input, model.get_layer("joined_features").output)(POSTERS)
    np.testing.assert_allclose(
        ops.convert_to_numpy(joined), np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5
    )
    assert frozen_cut(model) == "joined_features"
    assert not [name for name in backbone_layers(model) if name.startswith("tap_")]


def test_the_frozen_part_ends_under_the_standardisation_and_splits_there(tapped):
    assert frozen_cut(tapped) == "joined_features"
    assert frozen_cut(small(standardize=True)) == "average_pool"
    prefix, suffix = split_at(tapped, "joined_features")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(suffix(prefix(POSTERS))), ops.convert_to_numpy(tapped(POSTERS, training=False))
    )
    assert [layer.name for layer in tapped.layers if layer.trainable_weights] == ["logit"]


def test_feature_layers_are_no_part_of_the_backbone_and_can_be_trained_above(tapped):
    assert not [name for name in backbone_layers(tapped) if name.startswith("tap_")]
    assert list(blocks(tapped))[-1] == "Conv_1"
    model = small(feature_layers=LOWER_LAYERS)
    apply_unfreeze(model, ["block_16", "Conv_1"])
    assert (
        frozen_cut(model) == LOWER_LAYERS[0]
    )  # the lowest feature layer is on every path, what is above it is gone around
    assert model.get_layer("block_16_project").trainable_weights


def test_a_tapped_network_is_saved_and_loaded_with_its_statistics(tapped, tmp_path):
    features = np.random.default_rng(1).normal(3.0, 2.0, (50, 1504)).astype("float32")
    tapped.get_layer("standardize").set_statistics(features)
    tapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(POSTERS, training=False)),
        ops.convert_to_numpy(tapped(POSTERS, training=False)),
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
    with pytest.raises(UnknownLayerError, match=r"no layer 'block_6_projct_BN' with features below its output layer "
                       r"'out_relu' \(did you mean 'block_6_project_BN'\?\)"):  # fmt: skip
        small(feature_layers=("block_6_projct_BN",))
    with pytest.raises(UnknownLayerError, match="below its output layer 'block_6_project_BN'"):
        small(feature_layers=("block_13_project_BN",), output_layer="block_6_project_BN")
