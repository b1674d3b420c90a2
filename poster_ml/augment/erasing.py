"""A box of the poster painted over."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from poster_ml.augment.base import RandomPosterLayer, check_range

AREA = (0.02, 0.2)  # of the poster
ASPECT = (0.3, 1 / 0.3)  # height by width of the box


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomErasing(RandomPosterLayer):
    """Paints one box over with the poster's own mean colour.

    Source: Zhong et al. 2020 (arXiv:1708.04896), algorithm 1, with two changes: a box that sticks out of
    the poster is cut off instead of drawn again, and at most a fifth is painted so that a title can survive.

    Args:
        probability: 0..1, of a box in a poster.
        seed: of the draws.

    Input and output: see `RandomPosterLayer`.

    Raises: ValueError with the probability received.
    """

    arguments = ("probability",)

    def __init__(self, probability: float, seed: int = 42, **kwargs: Any) -> None:
        check_range("probability", probability, 1.0)
        super().__init__(seed=seed, **kwargs)
        self.probability = probability

    def transform(self, images: Any) -> Any:
        """Paints the boxes."""
        inside = self._boxes(images)  # (B, H, W, 1) bool
        mean = ops.mean(images, axis=(1, 2), keepdims=True)  # (B, 1, 1, C)
        return ops.where(inside, mean, images)

    def _boxes(self, images: Any) -> Any:
        """Draws which pixels are painted: (B, H, W, 1) bool."""
        height, width = images.shape[1:3]
        drawn = self.draw(images, 5)  # (B, 5): whether, area, aspect, row, column
        area = (AREA[0] + drawn[:, 1] * (AREA[1] - AREA[0])) * (height * width)
        log_low, log_high = math.log(ASPECT[0]), math.log(ASPECT[1])
        aspect = ops.exp(log_low + drawn[:, 2] * (log_high - log_low))
        rows = _between(height, drawn[:, 3], ops.sqrt(area * aspect))  # (B, H)
        columns = _between(width, drawn[:, 4], ops.sqrt(area / aspect))  # (B, W)
        chosen = drawn[:, 0] < self.probability
        inside = ops.logical_and(ops.expand_dims(rows, 2), ops.expand_dims(columns, 1))
        inside = ops.logical_and(inside, ops.reshape(chosen, (-1, 1, 1)))
        return ops.expand_dims(inside, -1)


def _between(length: int, place: Any, size: Any) -> Any:
    """Returns which pixels of an axis lie in the box: (B, length) bool.

    Args:
        length: of the axis, in pixels.
        place: (B,) where the box starts, 0..1 of the room it has.
        size: (B,) of the box, in pixels.
    """
    start = ops.expand_dims(place * ops.maximum(length - size, 0.0), -1)  # (B, 1)
    pixels = ops.expand_dims(ops.arange(length, dtype="float32"), 0) + 0.5  # (1, L), their centres
    return ops.logical_and(pixels >= start, pixels < start + ops.expand_dims(size, -1))
