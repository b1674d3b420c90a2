"""What every family of networks must satisfy, on every backend."""

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.augment.build import build_augmentation
from poster_ml.models import freezing
from poster_ml.models.build import Architecture, build_model
from poster_ml.models.catalogue import FAMILIES
from poster_ml.models.freezing import apply_unfreeze, backbone_layers, blocks, convolution_layers, frozen_cut

HEIGHT, WIDTH = 96, 112
POSTERS = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3)).astype("uint8")
# Ended where the second of its three kinds of block begins: the other 27 take most of the time.
# `models/test_build` builds it whole.
OUTPUT = {"inception_resnet_v2": "block17_1_ac"}
# A block at the top of each network, and one layer under it.
BLOCKS = {
    "vgg16": ("block5", "block4_conv3"),
    "inception_v3": ("mixed10", "conv2d_84"),
    "inception_resnet_v2": ("block17_1", "block35_10_conv"),
    "mobilenet_v2": ("Conv_1", "block_16_project"),
}


@pytest.fixture(scope="module", params=list(FAMILIES))
def model(request):
    """One network per family, shared by all tests; whoever freezes says how first."""
    augmentation = build_augmentation(rotation=20.0, horizontal_flip=True, brightness=0.2)
    small = {"pooling": "average", "filters": (4, 8), "dense": (8,), "dropout": 0.3}
    small["output_layer"] = OUTPUT.get(request.param, "")
    architecture = Architecture(request.param, (HEIGHT, WIDTH, 3), **small)
    return build_model(architecture, augmentation=augmentation, weights="none", seed=0)


@pytest.fixture(scope="module")
def logits(model):
    return ops.convert_to_numpy(model(POSTERS, training=False))


def trained(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers if layer.trainable_weights}


def ends(model: keras.Model) -> list[str]:
    """The last layer of each block that the network has."""
    there = blocks(model)
    return [end for name, end in FAMILIES[model.name].blocks if name in there]


def test_every_family_is_covered():
    assert list(FAMILIES) == ["cnn", "vgg16", "inception_v3", "inception_resnet_v2", "mobilenet_v2"]
    assert set(BLOCKS) == {name for name, family in FAMILIES.items() if family.has_backbone}
    assert all(name == family.name for name, family in FAMILIES.items())


def test_takes_bytes_and_ends_in_one_float32_logit(model, logits):
    found = (model.input.name, model.input.dtype, model.input.shape)
    assert found == ("poster", "uint8", (None, HEIGHT, WIDTH, 3))
    assert model.layers[-1].name == "logit"
    assert model.layers[-1].activation is keras.activations.linear
    assert (logits.shape, logits.dtype) == ((2, 1), np.float32)


def test_random_weights_neither_vanish_nor_explode(model, logits):
    features = keras.Model(model.input, model.get_layer("average_pool").output)(POSTERS, training=False)
    size = np.sqrt((ops.convert_to_numpy(features) ** 2).mean())
    assert 0.01 < size < 30
    assert np.abs(logits[0] - logits[1]) > 1e-6


def test_the_backbones_layers_are_the_models_own(model):
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    family = FAMILIES[model.name]
    convolutions = convolution_layers(model)
    assert convolutions[0] == family.first_convolution
    assert {*convolutions, *ends(model)} <= set(backbone_layers(model))
    deep = keras.Model(model.input, model.get_layer(convolutions[-1]).output)
    assert len(deep(POSTERS, training=False).shape) == 4


def test_names_do_not_depend_on_what_was_built_before(model):
    if model.name == "inception_resnet_v2":
        return  # the same code as inception_v3
    again = build_model(Architecture(model.name, (HEIGHT, WIDTH, 3), filters=(4, 8)), weights="none")
    assert backbone_layers(again) == backbone_layers(model)


def test_saving_and_loading_keeps_output_and_freezing(model, logits, tmp_path):
    apply_unfreeze(model, "none")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    found = ops.convert_to_numpy(loaded(POSTERS, training=False))
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6)
    assert trained(loaded) == trained(model)
    assert frozen_cut(loaded) == frozen_cut(model)


@pytest.mark.parametrize("released", [False, True])
def test_split_at_the_frozen_cut_computes_the_same(model, logits, released):
    family = FAMILIES[model.name]
    apply_unfreeze(model, [BLOCKS[model.name][0]] if released and family.has_backbone else "none")
    cut = frozen_cut(model)
    if not family.has_backbone:
        assert cut is None
        return
    assert cut == (ends(model)[-2] if released else "average_pool")
    prefix, suffix = freezing.split_at(model, cut)
    features = prefix(POSTERS, training=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(suffix(features, training=False)), logits)
    assert not prefix.trainable_weights
    ids = [{id(value) for value in part.trainable_weights} for part in (suffix, model)]
    assert ids[0] == ids[1]


def test_unfreezing_trains_what_was_named_and_the_head(model):
    head = {"dense_1", "logit"}
    if not FAMILIES[model.name].has_backbone:
        apply_unfreeze(model, "none")
        assert trained(model) == head | {"conv_1", "conv_2"}
        return
    convolutions = convolution_layers(model)
    apply_unfreeze(model, "none")
    assert trained(model) == head
    apply_unfreeze(model, "all")
    batch_norms = {layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert trained(model) == head | set(convolutions)
    apply_unfreeze(model, "all", batch_norm="train")
    assert trained(model) == head | set(convolutions) | batch_norms
    apply_unfreeze(model, 2)
    assert trained(model) == head | set(convolutions[-2:])
    block, layer = BLOCKS[model.name]
    apply_unfreeze(model, [block, layer])
    assert layer in trained(model)
    assert len(trained(model)) > 3
    assert convolutions[0] not in trained(model)


def test_training_moves_exactly_what_was_released(model):
    """One step of plain descent; BatchNorm's statistics stay where they are."""
    apply_unfreeze(model, [BLOCKS[model.name][0]] if FAMILIES[model.name].has_backbone else "none")
    before = {layer.name: layer.get_weights() for layer in model.layers if "augment" not in layer.name}
    released = trained(model)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=keras.backend.backend() == "tensorflow",  # tracing costs more than the step
    )
    model.fit(POSTERS, np.float32([[0], [1]]), batch_size=2, epochs=1, verbose=0)
    moved = set()
    for name, values in before.items():
        layer = model.get_layer(name)
        if not all(map(np.array_equal, values, layer.get_weights())):
            moved.add(name)
        layer.set_weights(values)
    assert moved <= released
    assert {"logit", "dense_1"} <= moved
    # Every released convolution gets a gradient.
    assert {name for name in released if isinstance(model.get_layer(name), freezing.CONVOLUTIONS)} <= moved
