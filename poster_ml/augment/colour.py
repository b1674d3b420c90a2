"""Lighter or darker, flatter or harder, paler or more colourful: one number for a whole poster."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from poster_ml.augment.base import RandomPosterLayer, check_range, grayscale


class RandomColourLayer(RandomPosterLayer):
    """Base of the layers that multiply or add one number per poster.

    Args:
        amount: 0..1; the number is drawn from [-amount, amount].
        seed: of the draws.

    Input and output: see `RandomPosterLayer`.

    Raises: ValueError with the amount received.
    """

    arguments = ("amount",)

    def __init__(self, amount: float, seed: int = 42, **kwargs: Any) -> None:
        check_range("amount", amount, 1.0)
        super().__init__(seed=seed, **kwargs)
        self.amount = amount

    def draw_around(self, images: Any, centre: float) -> Any:
        """Draws one number per image from centre - amount to centre + amount: (B, 1, 1, 1) float32."""
        drawn = self.draw(images, 1, centre - self.amount, centre + self.amount)
        return ops.reshape(drawn, (-1, 1, 1, 1))


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomBrightness(RandomColourLayer):
    """Adds one number to all pixels of a poster; `amount` is a fraction of 255."""

    def transform(self, images: Any) -> Any:
        """Shifts and clips to 0..255."""
        return ops.clip(images + 255.0 * self.draw_around(images, 0.0), 0.0, 255.0)


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomContrast(RandomColourLayer):
    """Moves all pixels of a poster towards or away from its mean luma, by 1 - amount to 1 + amount."""

    def transform(self, images: Any) -> Any:
        """Scales about the mean and clips to 0..255."""
        factor = self.draw_around(images, 1.0)
        mean = ops.mean(grayscale(images), axis=(1, 2, 3), keepdims=True)  # (B, 1, 1, 1)
        return ops.clip(mean + factor * (images - mean), 0.0, 255.0)


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomSaturation(RandomColourLayer):
    """Moves each RGB pixel towards or away from the grey of its luma, by 1 - amount to 1 + amount."""

    def transform(self, images: Any) -> Any:
        """Scales about the grey and clips to 0..255."""
        factor = self.draw_around(images, 1.0)
        grey = grayscale(images)  # (B, H, W, 1)
        return ops.clip(grey + factor * (images - grey), 0.0, 255.0)
