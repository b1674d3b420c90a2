"""The whole network: the study's parameter counts, options, seeds and preflight."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.errors import PosterMLError
from poster_ml.models.build import Architecture, build_model
from poster_ml.models.catalogue import FAMILIES
from poster_ml.models.freezing import backbone_layers
from poster_ml.training.precision import precision_scope
from tests.refusals import refusal

POSTERS = np.random.default_rng(0).integers(0, 256, (2, 40, 52, 3)).astype("uint8")


def small(family: str = "cnn", seed: int = 42, **options) -> keras.Model:
    architecture = Architecture(family, **{"input_shape": (40, 52, 3), "dense": (6,), **options})
    return build_model(architecture, weights="none", seed=seed)


def output(model: keras.Model) -> np.ndarray:
    return ops.convert_to_numpy(model(POSTERS, training=False))


@pytest.mark.parametrize(
    ("family", "options", "parameters"),
    [
        ("cnn", {"dense": (512,)}, 44_386_945),
        ("vgg16", {"dense": (512, 512), "dropout": 0.3}, 27_823_425),
        ("inception_resnet_v2", {"dense": (512,)}, 73_998_561),
    ],
)
def test_networks_have_the_studys_parameters_and_the_blocks_of_the_catalogue(
    family, options, parameters, monkeypatch
):
    zeros = lambda self, shape, dtype=None: ops.zeros(shape, "float32")  # noqa: E731
    # Draws would take half a minute.
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)
    model = small(family, input_shape=(224, 224, 3), **options)
    assert model.count_params() == parameters
    assert {end for _, end in FAMILIES[family].blocks} <= set(backbone_layers(model))


@pytest.mark.parametrize("family", ["cnn", "vgg16"])
def test_the_seed_repeats_the_weights_and_the_dropout(family):
    first, same, other = (small(family, seed=seed, pooling="average", dropout=0.5) for seed in (0, 0, 1))
    np.testing.assert_array_equal(output(first), output(same))
    assert np.abs(output(first) - output(other)).max() > 1e-6
    np.testing.assert_array_equal(
        ops.convert_to_numpy(first(POSTERS, training=True)),
        ops.convert_to_numpy(same(POSTERS, training=True)),
    )


def test_preprocessing_follows_the_backbone_or_divides_by_255():
    assert small("vgg16", pooling="average").get_layer("preprocessing").scale == "caffe"
    assert small("vgg16", pooling="average", preprocessing="unit").get_layer("preprocessing").scale == "unit"
    assert small("cnn").get_layer("preprocessing").scale == "unit"


def test_logit_and_preprocessing_stay_float32_in_mixed_precision():
    with precision_scope("mixed_bfloat16"):
        model = small("vgg16", pooling="average", dropout=0.1)
        assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"
        assert model.get_layer("block1_conv1").variable_dtype == "float32"
        assert keras.backend.standardize_dtype(model.get_layer("preprocessing").output.dtype) == "float32"
        assert keras.backend.standardize_dtype(model(POSTERS).dtype) == "float32"
    np.testing.assert_allclose(output(model), output(small("vgg16", pooling="average")), atol=0.05)


def test_cut_ends_the_backbone_there():
    model = small("vgg16", output_layer="block3_pool", pooling="average")
    assert model.get_layer("average_pool").input.shape == (None, 5, 6, 256)
    assert "block4_conv1" not in [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (
            "vgg16", {"output_layer": "block3pool"},
            "vgg16 has no layer 'block3pool' to end at (did you mean 'block3_pool'?): give a layer name, for "
            "example one of the blocks' ends block1_pool, block2_pool, block3_pool, block4_pool, block5_pool",
        ),
        ("cnn", {"output_layer": "conv_1"}, "cnn has no backbone with a layer conv_1: leave 'output_layer'"),
        (
            "inception_v3", {"input_shape": (74, 90, 3)},
            "inception_v3 needs posters of at least 75x75 pixels, got 74x90: "
            "prepare the dataset with --size 75 or more",
        ),
        (
            "cnn", {"input_shape": (21, 30, 3), "filters": (1, 1, 1), "dense": ()},
            "cnn with 3 convolutions needs posters of at least 22x22 pixels, got 21x30: "
            "prepare the dataset with --size 22 or more, or give fewer filters",
        ),
        (
            "vgg-16", {},
            "unknown model family 'vgg-16' (did you mean 'vgg16'?): choose one of "
            "cnn, vgg16, inception_v3, inception_resnet_v2, mobilenet_v2",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_with_what_can(family, options, message):
    assert refusal(PosterMLError, small, family, **options).startswith(message)


def test_the_smallest_posters_for_three_convolutions():
    small(input_shape=(22, 22, 3), filters=(1, 1, 1), dense=())
