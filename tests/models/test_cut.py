"""Where a network is cut, and that both halves are the whole; the contract tests ask it of every family."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.augment.build import build_augmentation
from poster_ml.models.architecture import Architecture
from poster_ml.models.build import build_model
from poster_ml.models.freezing import apply_unfreeze, frozen_cut, split_at

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


def test_training_the_suffix_trains_the_whole_which_can_then_be_saved(vgg: keras.Model, tmp_path) -> None:
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


def test_an_inner_branch_is_no_cut() -> None:
    model = build_model(
        Architecture("inception_v3", (75, 75, 3), output_layer="mixed2", pooling="average"), weights="none"
    )
    for unfreeze in (["mixed2"], 1):
        apply_unfreeze(model, unfreeze)
        assert frozen_cut(model) == "mixed1"
