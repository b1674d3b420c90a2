"""Linear resampling of a batch of pictures, each under its own affine map."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

FILLS = ("nearest", "reflect", "constant")


def resample(images: Any, maps: Any, fill: str) -> Any:
    """Looks up every output pixel in its input picture, with linear interpolation.

    Not by `keras.ops.image.affine_transform`: on JAX and PyTorch it interpolates over the channels
    too (8 look-ups in place of 4) and multiplies matrices, which a GPU may do in TF32 with an error
    of a tenth of a pixel; on TensorFlow its kernel takes 1.4 ms of processor time per poster at 224
    pixels, the look-ups below 0.4 ms once XLA has fused them. JAX compiles by itself, TensorFlow is
    asked to here, whatever the rest of the model does (about a second, once per shape of batch).

    Args:
        images: (B, H, W, C) float32.
        maps: (B, 6) float32, from output to input pixels, as from `affine_maps`.
        fill: one of `FILLS`.

    Returns: (B, H, W, C) float32.
    """
    if keras.backend.backend() == "tensorflow":
        return _compiled_by_tensorflow(fill)(images, maps)
    return resample_gather(images, maps, fill)


@functools.cache
def _compiled_by_tensorflow(fill: str) -> Callable[[Any, Any], Any]:
    import tensorflow

    return tensorflow.function(
        lambda images, maps: resample_gather(images, maps, fill), jit_compile=True, autograph=False
    )


def resample_gather(images: Any, maps: Any, fill: str) -> Any:
    """Resamples by four look-ups; arguments as for `resample`."""
    height, width, channels = images.shape[1:]
    batch = ops.shape(images)[0]
    columns = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, width))
    rows = ops.reshape(ops.arange(height, dtype="float32"), (1, height, 1))
    a, b, c, d, e, f = (ops.reshape(maps[:, index], (-1, 1, 1)) for index in range(6))
    x, x_inside = _neighbours(a * columns + b * rows + c, width, fill)
    y, y_inside = _neighbours(d * columns + e * rows + f, height, fill)
    flat = ops.reshape(images, (-1, channels))
    first = ops.reshape(ops.arange(batch, dtype="int32") * (height * width), (-1, 1, 1))
    total = 0.0
    for row, row_weight in zip(y, y_inside, strict=True):
        for column, column_weight in zip(x, x_inside, strict=True):
            values = ops.take(flat, first + row * width + column, axis=0)  # (B, H, W, C)
            total = total + values * ops.expand_dims(row_weight * column_weight, -1)
    return total


def _neighbours(position: Any, length: int, fill: str) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Returns the two pixels beside each position along one axis, and their weights.

    Args:
        position: (B, H, W) float32, anywhere.
        length: pixels on the axis.
        fill: one of `FILLS`.
    """
    if fill == "reflect":
        # d c b a | a b c d | d c b a: a period of 2 length, mirrored at half pixels.
        folded = ops.mod(position + 0.5, 2.0 * length)
        position = ops.minimum(folded, 2.0 * length - folded) - 0.5
    if fill != "constant":
        position = ops.clip(position, 0.0, length - 1.0)
    else:
        position = ops.clip(position, -2.0, length + 1.0)  # as far outside as it takes to weigh nothing
    low = ops.floor(position)
    share = position - low
    indices, weights = [], []
    for neighbour, weight in ((low, 1.0 - share), (low + 1.0, share)):
        inside = ops.cast(ops.logical_and(neighbour >= 0, neighbour <= length - 1), "float32")
        indices.append(ops.cast(ops.clip(neighbour, 0.0, length - 1.0), "int32"))
        weights.append(weight * inside)
    return (indices[0], indices[1]), (weights[0], weights[1])
