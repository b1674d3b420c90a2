"""Lighter or darker."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from poster_ml.augment.base import RandomPosterLayer, check_range


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomBrightness(RandomPosterLayer):
    """Adds one number to all pixels of a poster.

    Args:
        amount: 0..1, fraction of the full range 255; drawn from [-amount, amount].
        seed: of the draws.

    Input and output: see `RandomPosterLayer`.

    Raises: ValueError with the amount received.
    """

    def __init__(self, amount: float, seed: int = 42, **kwargs: Any) -> None:
        check_range("amount", amount, 1.0)
        super().__init__(seed=seed, **kwargs)
        self.amount = amount

    def transform(self, images: Any) -> Any:
        """Shifts and clips to 0..255."""
        added = 255.0 * self.draw_per_image(images, -self.amount, self.amount)
        return ops.clip(images + added, 0.0, 255.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "amount": self.amount}
