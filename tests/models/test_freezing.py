"""What is trained, what is refused, and where a network is cut so that both halves are the whole."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.augment.build import build_augmentation
from poster_ml.errors import UnknownLayerError
from poster_ml.models.build import Architecture, build_model
from poster_ml.models.freezing import (
    apply_unfreeze,
    blocks,
    frozen_cut,
    split_at,
    trainable_summary,
)
from tests.refusals import refusal

POSTERS = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3)).astype("uint8")


@pytest.fixture(scope="module")
def vgg():
    return build_model(
        Architecture("vgg16", (32, 48, 3), pooling="average", dense=(4,), dropout=0.5),
        augmentation=build_augmentation(horizontal_flip=True, rotation=30.0),
        weights="none",
    )


@pytest.fixture(scope="module")
def mobile():
    return build_model(Architecture("mobilenet_v2", (32, 48, 3), pooling="average", dense=()), weights="none")


def trained(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if layer.trainable_weights]


def test_blocks_and_single_layers_are_trained_by_name(vgg):
    assert blocks(vgg)["block4"] == ["block4_conv1", "block4_conv2", "block4_conv3", "block4_pool"]
    apply_unfreeze(vgg, ("block4", "block5"))
    convolutions = [f"block{block}_conv{number}" for block in (4, 5) for number in (1, 2, 3)]
    assert trained(vgg) == [*convolutions, "dense_1", "logit"]
    apply_unfreeze(vgg, "block5")
    assert trained(vgg) == [*convolutions[3:], "dense_1", "logit"]
    apply_unfreeze(vgg, ["block3_conv2"])
    assert trained(vgg) == ["block3_conv2", "dense_1", "logit"]


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        (14, "vgg16 has 13 convolutions, cannot unfreeze the topmost 14: give a number from 0 to 13"),
        (
            ["block5", "blok4"],
            "vgg16 has no block or layer 'blok4' to unfreeze (did you mean 'block4'?): give none, all, a number of "
            "convolutions, layer names or blocks out of block1, block2, block3, block4, block5",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_changed(vgg, unfreeze, message):
    apply_unfreeze(vgg, 1)
    before = trained(vgg)
    assert refusal(UnknownLayerError, apply_unfreeze, vgg, unfreeze) == message
    assert trained(vgg) == before


def test_summary_counts(vgg):
    apply_unfreeze(vgg, "block5")
    assert trainable_summary(vgg) == {
        "parameters": 14_714_688 + 512 * 4 + 4 + 4 + 1,
        "trainable_parameters": 3 * (3 * 3 * 512 * 512 + 512) + 512 * 4 + 4 + 4 + 1,
    }


def test_batch_norm_in_inference_mode_ignores_the_batch(mobile):
    still = ops.convert_to_numpy(mobile(POSTERS, training=False))
    apply_unfreeze(mobile, "all")
    np.testing.assert_allclose(ops.convert_to_numpy(mobile(POSTERS, training=True)), still, rtol=1e-4)
    apply_unfreeze(mobile, "all", batch_norm="train")
    statistics = mobile.get_layer("bn_Conv1").get_weights()
    assert np.abs(ops.convert_to_numpy(mobile(POSTERS, training=True)) - still).max() > 1e-3
    mobile.get_layer("bn_Conv1").set_weights(statistics)


def test_blocks_of_a_cut_network_end_at_the_cut():
    model = build_model(
        Architecture("vgg16", (32, 32, 3), output_layer="block3_conv2", pooling="average"), weights="none"
    )
    assert blocks(model) == {
        "block1": ["block1_conv1", "block1_conv2", "block1_pool"],
        "block2": ["block2_conv1", "block2_conv2", "block2_pool"],
        "block3": ["block3_conv1", "block3_conv2"],
    }


@pytest.mark.parametrize(
    ("unfreeze", "cut"),
    [
        ("none", "average_pool"),
        (["block5"], "block4_pool"),
        (1, "block5_conv2"),
        (["block1_conv2"], "block1_conv1"),
        ("all", None),
    ],
)
def test_the_cut_is_under_the_first_trained_layer(vgg, unfreeze, cut):
    apply_unfreeze(vgg, unfreeze)
    assert frozen_cut(vgg) == cut


def test_training_the_suffix_trains_the_whole_which_can_then_be_saved(vgg, tmp_path):
    apply_unfreeze(vgg, ["block5"])
    prefix, suffix = split_at(vgg, frozen_cut(vgg))
    before = ops.convert_to_numpy(vgg(POSTERS, training=False))
    suffix.compile(optimizer="sgd", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    features = prefix.predict(POSTERS, verbose=0)
    suffix.fit(features, np.float32([[0], [1], [0], [1]]), verbose=0)
    after = ops.convert_to_numpy(vgg(POSTERS, training=False))
    assert np.abs(after - before).max() > 1e-6
    np.testing.assert_allclose(suffix.predict(features, verbose=0), after, rtol=1e-4, atol=1e-5)
    vgg.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(loaded(POSTERS)), after, rtol=1e-5)
    assert frozen_cut(loaded) == frozen_cut(vgg)


def test_an_inner_branch_is_no_cut():
    model = build_model(
        Architecture("inception_v3", (75, 75, 3), output_layer="mixed2", pooling="average"), weights="none"
    )
    for unfreeze in (["mixed2"], 1):
        apply_unfreeze(model, unfreeze)
        assert frozen_cut(model) == "mixed1"
