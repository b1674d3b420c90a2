"""Flatter or harder."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from poster_ml.augment.base import RandomPosterLayer, check_range, grayscale


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomContrast(RandomPosterLayer):
    """Moves all pixels of a poster towards or away from its mean luma.

    Args:
        amount: 0..1; the factor is drawn from [1 - amount, 1 + amount].
        seed: of the draws.

    Input and output: see `RandomPosterLayer`.

    Raises: ValueError with the amount received.
    """

    def __init__(self, amount: float, seed: int = 42, **kwargs: Any) -> None:
        check_range("amount", amount, 1.0)
        super().__init__(seed=seed, **kwargs)
        self.amount = amount

    def transform(self, images: Any) -> Any:
        """Scales about the mean and clips to 0..255."""
        factor = self.draw_per_image(images, 1.0 - self.amount, 1.0 + self.amount)
        mean = ops.mean(grayscale(images), axis=(1, 2, 3), keepdims=True)  # (B, 1, 1, 1)
        return ops.clip(mean + factor * (images - mean), 0.0, 255.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "amount": self.amount}
