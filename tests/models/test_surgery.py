"""Where a network is cut, and that both halves are the whole."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.augment.build import build_augmentation
from poster_ml.errors import UnknownLayerError
from poster_ml.models.architecture import Architecture
from poster_ml.models.build import build_model
from poster_ml.models.freezing import apply_unfreeze
from poster_ml.models.surgery import frozen_cut, split_at

POSTERS = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3)).astype("uint8")


@pytest.fixture(scope="module")
def vgg() -> keras.Model:
    return build_model(
        Architecture("vgg16", (32, 48, 3), dense=(16,), dropout=0.5),
        augmentation=build_augmentation(horizontal_flip=True, rotation=30.0),
        weights="none",
    )


@pytest.mark.parametrize(
    ("unfreeze", "cut"),
    [
        ("none", "flatten"),
        (["block5"], "block4_pool"),
        (1, "block5_conv2"),
        (["block1_conv2"], "block1_conv1"),
        ("all", None),
    ],
)
def test_the_cut_is_under_the_first_trained_layer(vgg: keras.Model, unfreeze, cut: str | None) -> None:
    apply_unfreeze(vgg, unfreeze)
    assert frozen_cut(vgg) == cut


def test_dropout_and_augmentation_do_not_enter_the_cut(vgg: keras.Model) -> None:
    apply_unfreeze(vgg, "none")
    prefix, suffix = split_at(vgg, frozen_cut(vgg))
    assert "dropout_1" in [layer.name for layer in suffix.layers]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(prefix(POSTERS, training=False)),
        ops.convert_to_numpy(prefix(POSTERS, training=False)),
    )


def test_the_prefix_gives_augmented_views_when_asked(vgg: keras.Model) -> None:
    prefix, _ = split_at(vgg, "block5_pool")
    first, second = (ops.convert_to_numpy(prefix(POSTERS, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_training_the_suffix_trains_the_whole(vgg: keras.Model) -> None:
    apply_unfreeze(vgg, ["block5"])
    prefix, suffix = split_at(vgg, frozen_cut(vgg))
    before = ops.convert_to_numpy(vgg(POSTERS, training=False))
    suffix.compile(optimizer="sgd", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    features = prefix.predict(POSTERS, verbose=0)
    suffix.fit(features, np.float32([[0], [1], [0], [1]]), verbose=0)
    after = ops.convert_to_numpy(vgg(POSTERS, training=False))
    assert np.abs(after - before).max() > 1e-6
    np.testing.assert_allclose(suffix.predict(features, verbose=0), after, rtol=1e-4, atol=1e-5)


def test_the_whole_can_be_saved_after_a_split(vgg: keras.Model, tmp_path) -> None:
    split_at(vgg, "block4_pool")
    split_at(vgg, "block5_pool")
    vgg.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(POSTERS)), ops.convert_to_numpy(vgg(POSTERS)), rtol=1e-5
    )
    assert frozen_cut(loaded) == frozen_cut(vgg)


def test_an_inner_branch_is_no_cut() -> None:
    model = build_model(
        Architecture("inception_v3", (75, 75, 3), output_layer="mixed2", pooling="average"), weights="none"
    )
    apply_unfreeze(model, ["mixed2"])
    assert frozen_cut(model) == "mixed1"
    apply_unfreeze(model, 1)
    assert frozen_cut(model) == "mixed1"
    with pytest.raises(UnknownLayerError) as caught:
        split_at(model, "activation_12")
    assert str(caught.value).startswith(
        "inception_v3 cannot be split at 'activation_12': a path goes around it or it is an end of the network; "
        "possible are preprocessing, conv2d, "
    )


def test_an_unknown_layer_gets_the_nearest(vgg: keras.Model) -> None:
    with pytest.raises(
        UnknownLayerError, match=r"^vgg16 has no layer 'block4pool' \(did you mean 'block4_pool'\?\)$"
    ):
        split_at(vgg, "block4pool")
