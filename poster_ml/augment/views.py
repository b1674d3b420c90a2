"""Fixed views: the same few versions of every poster, for averaging what a network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from poster_ml.augment.affine import RandomAffine
from poster_ml.augment.resample import FILLS, resample
from poster_ml.seeding import derive_seed


@keras.saving.register_keras_serializable(package="poster_ml")
class FixedViews(keras.layers.Layer):
    """Shows posters under one of V affine maps that never change.

    Args:
        maps: V maps of six numbers, from output to input pixels as `affine.affine_maps` gives them.
        fill: beyond the edge, see `RandomAffine`.

    Input: (B, H, W, C) uint8 and the number of the view, an int or an integer tensor in 0..V-1.
    Output: (B, H, W, C) uint8.

    Raises: ValueError with the argument received.
    """

    def __init__(
        self, maps: Sequence[Sequence[float]] | np.ndarray, fill: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        array = np.asarray(maps, "float32")
        if array.ndim != 2 or array.shape[1] != 6 or len(array) == 0:
            raise ValueError(f"maps must be one or more of six numbers; received an array {array.shape}")
        if fill not in FILLS:
            raise ValueError(f"fill must be one of {', '.join(FILLS)}; received {fill=}")
        self.maps = array  # (V, 6)
        self.fill = fill

    def call(self, images: Any, view: Any = 0) -> Any:
        """Resamples in float32 and rounds, as a picture in a file would be."""
        one = ops.take(ops.convert_to_tensor(self.maps), view, axis=0)  # (6,)
        maps = ops.tile(ops.expand_dims(one, 0), (ops.shape(images)[0], 1))  # (B, 6)
        seen = resample(ops.cast(images, "float32"), maps, self.fill)
        return ops.cast(ops.round(seen), "uint8")

    def compute_output_spec(self, images: Any, view: Any = 0) -> Any:
        """Returns the input's shape, uint8."""
        return keras.KerasTensor(images.shape, "uint8")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "maps": self.maps.tolist(), "fill": self.fill}


def draw_view_maps(
    count: int,
    size: int,
    seed: int,
    *,
    rotation: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    horizontal_flip: bool = False,
    strength: float = 1.0,
) -> np.ndarray:
    """Draws the maps of fixed views from the ranges of an augmentation; the first is the poster as it is.

    Args:
        count: views, at least 2.
        size: height and width of the posters, in pixels.
        seed: an int >= 0; the same seed, the same views.
        rotation, zoom, shift, shear, horizontal_flip, strength: see `RandomAffine`.

    Returns: (count, 6) float32; fewer where so many do not differ (a flip alone knows two views).
    Raises: ValueError with the argument received, and where nothing would move.
    """
    if count < 2:
        raise ValueError(f"count must be at least 2; received {count=}")
    layer = RandomAffine(
        rotation,
        zoom,
        shift,
        shear,
        horizontal_flip,
        strength=strength,
        seed=derive_seed(seed, "views"),
    )
    if not layer.active:
        raise ValueError("all ranges are 0: every view would be the poster as it is")
    drawn = ops.convert_to_numpy(layer.draw_maps(ops.zeros((count - 1, 1, 1, 1)), size, size))
    plain = np.array([[1, 0, 0, 0, 1, 0]], "float32")
    maps = np.concatenate([plain, np.asarray(drawn, "float32")])
    _, first = np.unique(maps, axis=0, return_index=True)
    return maps[np.sort(first)]
