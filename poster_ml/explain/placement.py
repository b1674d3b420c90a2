"""Where the cells of a layer lie on the picture, so that a map is laid where the network looked.

A layer of 6 x 6 cells behind unpadded convolutions sees only the inner part of a 64-pixel picture:
its first cell is centred on pixel 11, not on pixel 5.3. Stretching the cells evenly over the
picture, as is often done, pushes what was seen near the middle outwards. So the centres of the
receptive fields are followed from layer to layer (Araujo et al. 2019, doi:10.23915/distill.00021).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from poster_ml.explain.graph import find_layer, output_shape
from poster_ml.models.graph import parents


class Axis(NamedTuple):
    """Cells along one axis: centre of the first one and distance between centres, in pixels of the picture.

    A pixel's centre lies at its number + .5.
    """

    start: float = 0.5
    step: float = 1.0


def cell_axes(model: keras.Model, layer_name: str) -> tuple[Axis, Axis]:
    """Follows the picture's cells from the input to a layer.

    Args:
        model: Keras model; read only. Where branches meet, one is followed: they are centred alike.
        layer_name: a layer with 4-D output.

    Returns: down and across; evenly over the picture behind a layer that moves places in a way that
        is not known here.
    """
    above = parents(model)
    chain = [find_layer(model, layer_name)]
    while sources := [
        source for source in map(model.get_layer, above[chain[-1].name]) if len(output_shape(source)) == 4
    ]:
        chain.append(sources[-1])
    axes = [Axis(), Axis()]
    for layer, source in zip(chain[-2::-1], chain[:0:-1], strict=True):
        sizes = output_shape(source)[1:3]
        windows = _windows(layer, sizes)
        if windows is None and sizes != output_shape(layer)[1:3]:
            whole, cells = output_shape(chain[-1])[1:3], output_shape(chain[0])[1:3]
            steps = [pixels / count for pixels, count in zip(whole, cells, strict=True)]
            return Axis(steps[0] / 2, steps[0]), Axis(steps[1] / 2, steps[1])
        for number, (reach, stride, before) in enumerate(windows or ()):
            start, step = axes[number]
            axes[number] = Axis(start + ((reach - 1) / 2 - before) * step, step * stride)
    return axes[0], axes[1]


def place_maps(maps: np.ndarray, height: int, width: int, axes: tuple[Axis, Axis]) -> np.ndarray:
    """Lays maps (B, h, w) on a picture: (B, height, width) float32, bilinear, the outermost values beyond."""
    down = _weights(maps.shape[1], height, axes[0])
    across = _weights(maps.shape[2], width, axes[1])
    return np.asarray(np.einsum("yh,bhw,xw->byx", down, maps, across, optimize=True), np.float32)


def _weights(cells: int, pixels: int, axis: Axis) -> np.ndarray:
    """The share of each cell in each pixel: (pixels, cells), rows sum to 1."""
    places = np.clip((np.arange(pixels) + 0.5 - axis.start) / axis.step, 0, cells - 1)
    distance = np.abs(places[:, None] - np.arange(cells))
    return np.asarray(np.maximum(0.0, 1.0 - distance))


def _windows(layer: Any, sizes: tuple[Any, ...]) -> list[tuple[int, int, int]] | None:
    """Reach, stride and padding before, down and across; None for what is neither window nor padding."""
    if isinstance(layer, keras.layers.ZeroPadding2D):
        (top, _), (left, _) = layer.padding
        return [(1, 1, top), (1, 1, left)]
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if kernel is None or isinstance(layer, keras.layers.Conv2DTranspose):
        return None
    found, dilation = [], getattr(layer, "dilation_rate", (1, 1))
    for size, one, stride, spread in zip(sizes, kernel, layer.strides, dilation, strict=True):
        reach = (one - 1) * spread + 1
        missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
        found.append((reach, stride, missing // 2 if layer.padding == "same" else 0))
    return found
