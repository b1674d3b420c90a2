"""Paler or more colourful."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from poster_ml.augment.base import RandomPosterLayer, check_range, grayscale


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomSaturation(RandomPosterLayer):
    """Moves each pixel towards or away from the grey of the same luma.

    Args:
        amount: 0..1; the factor is drawn from [1 - amount, 1 + amount], 0 being grey.
        seed: of the draws.

    Input and output: see `RandomPosterLayer`; three channels, RGB.

    Raises: ValueError with the amount received.
    """

    def __init__(self, amount: float, seed: int = 42, **kwargs: Any) -> None:
        check_range("amount", amount, 1.0)
        super().__init__(seed=seed, **kwargs)
        self.amount = amount

    def transform(self, images: Any) -> Any:
        """Scales about the grey and clips to 0..255."""
        factor = self.draw_per_image(images, 1.0 - self.amount, 1.0 + self.amount)
        grey = grayscale(images)  # (B, H, W, 1)
        return ops.clip(grey + factor * (images - grey), 0.0, 255.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "amount": self.amount}
