"""What all augmentation layers share: they act while training only, on float32 pixels 0..255."""

from __future__ import annotations

from typing import Any

import keras


class RandomPosterLayer(keras.layers.Layer):
    """Base of the augmentation layers.

    Not Keras' own (tried in 3.15, 0..255): `RandomBrightness` adds within uint8 and so wraps dark
    pixels to bright ones, `RandomContrast` moves each channel about a mean of its own,
    `RandomSaturation` multiplies beyond full saturation and leaves 0..255 (down to -400),
    `RandomErasing` fills with noise instead of the poster's mean; all of them act outside training
    too, unless asked not to.

    Computes in float32 under every precision policy: 8 bits of mantissa would round the pixels. Set
    `seed_generator.state` to repeat a sequence of draws.

    Args:
        seed: of the draws, an int >= 0; they differ per image and per call.

    Input: (B, H, W, C), uint8 or float in 0..255. Output: the same shape, float32 in 0..255; the
    input as it is when not training.
    """

    arguments: tuple[str, ...] = ()  # of the subclass's constructor, each kept as an attribute

    def __init__(self, seed: int = 42, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def transform(self, images: Any) -> Any:
        """Changes float32 pixels (B, H, W, C) at random; every subclass has its own."""
        raise NotImplementedError

    def draw(self, images: Any, count: int, low: float = 0.0, high: float = 1.0) -> Any:
        """Draws `count` uniform numbers in [low, high) per image: (B, count) float32."""
        shape = (keras.ops.shape(images)[0], count)
        return keras.random.uniform(shape, low, high, dtype="float32", seed=self.seed_generator)

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns (B, H, W, C) float32: changed while training, unchanged otherwise."""
        images = keras.ops.cast(images, "float32")
        return self.transform(images) if training else images

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, name) for name in self.arguments}
        return {**super().get_config(), **own, "seed": self.seed}


def check_range(name: str, value: float, high: float) -> None:
    """Refuses a range outside [0, high].

    Raises: ValueError with the name and the value received.
    """
    if not 0 <= value <= high:
        raise ValueError(f"{name} must be between 0 and {high:g}; received {name}={value!r}")


def grayscale(images: Any) -> Any:
    """Returns the luma of RGB pixels: (B, H, W, 3) -> (B, H, W, 1). Source: ITU-R BT.601."""
    weights = keras.ops.convert_to_tensor([0.299, 0.587, 0.114], dtype="float32")
    return keras.ops.sum(images * weights, axis=-1, keepdims=True)
