"""From numbers to the list of augmentation layers."""

from __future__ import annotations

import keras

from poster_ml.augment.affine import RandomAffine
from poster_ml.augment.base import RandomPosterLayer, check_range
from poster_ml.augment.brightness import RandomBrightness
from poster_ml.augment.contrast import RandomContrast
from poster_ml.augment.erasing import RandomErasing
from poster_ml.augment.saturation import RandomSaturation
from poster_ml.seeding import derive_seed


def build_augmentation(  # noqa: PLR0913 (one argument per option of a run: no config object down here)
    *,
    strength: float = 1.0,
    rotation: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    horizontal_flip: bool = False,
    fill: str = "nearest",
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    erasing: float = 0.0,
    seed: int = 42,
) -> list[keras.layers.Layer]:
    """Builds the layers that change anything, geometry first, erasing last.

    Args:
        strength: 0..1, multiplies every range and probability.
        rotation, zoom, shift, shear, horizontal_flip, fill: see `RandomAffine`.
        brightness, contrast, saturation: 0..1, see the layer of that name.
        erasing: 0..1, probability per poster, see `RandomErasing`.
        seed: an int >= 0; each layer draws its own stream from it.

    Returns: layers on (B, H, W, 3) pixels 0..255, to be called one after the other; empty where nothing is
        active.

    Raises: ValueError with the argument received.
    """
    check_range("strength", strength, 1.0)
    layers: list[RandomPosterLayer] = [
        RandomAffine(
            rotation,
            zoom,
            shift,
            shear,
            horizontal_flip,
            fill,
            strength,
            seed=derive_seed(seed, "augment", "affine"),
            name="augment_affine",
        )
    ]
    if not layers[0].active:
        layers = []
    for kind, name, amount in (
        (RandomBrightness, "brightness", brightness),
        (RandomContrast, "contrast", contrast),
        (RandomSaturation, "saturation", saturation),
        (RandomErasing, "erasing", erasing),
    ):
        check_range(name, amount, 1.0)
        if strength * amount > 0:
            layer_seed = derive_seed(seed, "augment", name)
            layers.append(kind(strength * amount, seed=layer_seed, name=f"augment_{name}"))
    return list(layers)
