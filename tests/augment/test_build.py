"""The list of layers that the numbers ask for."""

import pytest

from poster_ml.augment.build import build_augmentation


def test_nothing_active_gives_no_layers():
    assert build_augmentation() == []
    assert build_augmentation(strength=0.0, rotation=50.0, brightness=0.3, horizontal_flip=True) == []


def test_geometry_comes_first_and_strength_scales_the_rest():
    layers = build_augmentation(
        strength=0.5, shift=0.1, fill="reflect", brightness=0.2, contrast=0.4, saturation=0.6, erasing=0.8
    )
    names = [layer.name.removeprefix("augment_") for layer in layers]
    assert names == ["affine", "brightness", "contrast", "saturation", "erasing"]
    assert (layers[0].strength, layers[0].shift, layers[0].fill) == (0.5, 0.1, "reflect")
    assert [layer.amount for layer in layers[1:4]] == pytest.approx([0.1, 0.2, 0.3])
    assert layers[4].probability == pytest.approx(0.4)


def test_layers_draw_from_different_streams():
    layers = build_augmentation(rotation=1.0, brightness=0.2, contrast=0.4, erasing=0.8, seed=0)
    assert len({layer.seed for layer in layers}) == 4
