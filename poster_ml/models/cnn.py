"""The study's own network (damengjin 2020): 3x3 convolutions without padding, each then pooled 2x2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from poster_ml.errors import DatasetError
from poster_ml.seeding import derive_seed


def tower(images: Any, filters: Sequence[int], seed: int) -> Any:
    """Stacks convolution (ReLU) and max pooling, one pair per entry of `filters`.

    Args:
        images: (B, H, W, 3) preprocessed.
        filters: number of channels of each convolution, at least 1 each.
        seed: of the initial weights.

    Returns: (B, h, w, filters[-1]).

    Raises: DatasetError where the images are too small for so many convolutions.
    """
    height, width = images.shape[1:3]
    needed = 3 * 2 ** len(filters) - 2  # pooling halves, the convolution takes one pixel from either side
    if min(height, width) < needed:
        raise DatasetError(
            f"cnn with {len(filters)} convolutions needs posters of at least {needed}x{needed} pixels, "
            f"got {height}x{width}: prepare the dataset with --size {needed} or more, or give fewer filters"
        )
    for number, channels in enumerate(filters, start=1):
        name = f"conv_{number}"
        initializer = keras.initializers.GlorotUniform(seed=derive_seed(seed, "initialize", name))
        images = keras.layers.Conv2D(
            channels, 3, activation="relu", kernel_initializer=initializer, name=name
        )(images)
        images = keras.layers.MaxPooling2D(2, name=f"pool_{number}")(images)
    return images
