"""Small networks whose maps are known by hand, given to the tests as the fixture `nets`."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

RED, GREEN = 0, 1


def red_against_green(head: str = "gap", dtype: Any = None, height: int = 12, width: int = 8) -> keras.Model:
    """Red speaks for Fresh, green for Rotten: two 1x1 convolution channels (red, green) / 255, weights +2 and -2.

    head: "gap" (pooling, linear unit), "mlp" (pooling, dense ReLU, unit), "flatten" (weights differ by place:
    only the left half of the picture counts).
    """
    image = keras.Input((height, width, 3), dtype="uint8", name="image")
    tensor = keras.layers.Rescaling(1 / 255, name="scale", dtype=dtype)(image)
    tensor = keras.layers.Conv2D(2, 1, activation="relu", name="colour_conv", dtype=dtype)(tensor)
    if head == "flatten":
        tensor = keras.layers.Flatten(name="flatten", dtype=dtype)(tensor)
    else:
        tensor = keras.layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(tensor)
    if head == "mlp":
        tensor = keras.layers.Dense(2, activation="relu", name="hidden", dtype=dtype)(tensor)
    tensor = keras.layers.Dropout(0.5, name="drop", dtype=dtype)(tensor)
    model = keras.Model(image, keras.layers.Dense(1, name="logit", dtype="float32")(tensor))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0, RED] = kernel[0, 0, 1, GREEN] = 1
    model.get_layer("colour_conv").set_weights([kernel, np.zeros(2)])
    if head == "mlp":
        model.get_layer("hidden").set_weights([np.eye(2), np.zeros(2)])
    weights = np.array([2.0, -2.0])
    if head == "flatten":
        by_place = np.zeros((height, width, 2))
        by_place[:, : width // 2] = weights
        weights = by_place
    model.get_layer("logit").set_weights([weights.reshape(-1, 1), np.array([0.25])])
    return model


def coloured(height: int = 12, width: int = 8) -> np.ndarray:
    """Two posters, (2, H, W, 3) uint8: a red block top left on black; a green block bottom left, a weak red one right."""
    images = np.zeros((2, height, width, 3), np.uint8)
    images[0, :4, :3, 0] = 255
    images[1, 8:, :2, 1] = 255
    images[1, 2:4, 6:, 0] = 51  # a fifth
    return images


def branching(height: int = 12, width: int = 8) -> keras.Model:
    """Two branches around each other, batch normalisation, frozen layers: `left` does not dominate the output."""
    keras.utils.set_random_seed(0)
    image = keras.Input((height, width, 3), dtype="uint8", name="image")
    tensor = keras.layers.Rescaling(1 / 255, name="scale")(image)
    left = keras.layers.Conv2D(3, 3, padding="same", use_bias=False, name="left")(tensor)
    left = keras.layers.BatchNormalization(name="left_norm")(left)
    left = keras.layers.Activation("relu", name="left_relu")(left)
    right = keras.layers.Conv2D(2, 3, padding="same", name="right")(tensor)
    both = keras.layers.Concatenate(name="both")([left, right])
    tensor = keras.layers.MaxPooling2D(2, name="shrink")(both)
    tensor = keras.layers.Flatten(name="flatten")(tensor)
    tensor = keras.layers.Dense(4, activation="tanh", name="hidden")(tensor)
    model = keras.Model(image, keras.layers.Dense(1, name="logit")(tensor))
    for layer in model.layers[:6]:
        layer.trainable = False
    return model


def noise(count: int, height: int = 12, width: int = 8, seed: int = 0) -> np.ndarray:
    """(count, H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def nets():
    """The networks and pictures above."""
    made = (red_against_green, coloured, branching, noise)
    return SimpleNamespace(**{one.__name__: one for one in made})
