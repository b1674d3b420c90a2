"""From numbers to the list of augmentation layers."""

from __future__ import annotations

from typing import Any

import keras

from poster_ml.augment.affine import RandomAffine
from poster_ml.augment.colour import RandomBrightness, RandomContrast, RandomSaturation
from poster_ml.augment.erasing import RandomErasing
from poster_ml.seeding import derive_seed


def build_augmentation(
    *,
    strength: float = 1.0,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    erasing: float = 0.0,
    seed: int = 42,
    **affine: Any,
) -> list[keras.layers.Layer]:
    """Builds the layers that change anything, geometry first, erasing last.

    Args:
        strength: 0..1, multiplies every range and probability.
        brightness, contrast, saturation: 0..1, see the layer of that name.
        erasing: 0..1, probability per poster, see `RandomErasing`.
        seed: an int >= 0; each layer draws its own stream from it.
        **affine: rotation, zoom, shift, shear, horizontal_flip and fill of `RandomAffine`.

    Returns: layers on (B, H, W, 3) pixels 0..255, to be called one after the other; empty where
        nothing is active.

    Raises: ValueError with the argument received.
    """
    affine_seed = derive_seed(seed, "augment", "affine")
    geometry = RandomAffine(**affine, strength=strength, seed=affine_seed, name="augment_affine")
    layers: list[keras.layers.Layer] = [geometry] if geometry.active else []
    for kind, name, amount in (
        (RandomBrightness, "brightness", brightness),
        (RandomContrast, "contrast", contrast),
        (RandomSaturation, "saturation", saturation),
        (RandomErasing, "erasing", erasing),
    ):
        if strength * amount:
            layer_seed = derive_seed(seed, "augment", name)
            layers.append(kind(strength * amount, seed=layer_seed, name=f"augment_{name}"))
    return layers
