"""Where the cells of a layer lie on the picture, so that a map is laid where the network looked.

A layer of 6 x 6 cells behind unpadded convolutions sees only the inner part of a 64-pixel picture: its first
cell is centred on pixel 11, not on pixel 5.3. Stretching the cells evenly over the picture, as is often done,
pushes what was seen near the middle outwards. So the centres of the receptive fields are followed from layer
to layer (Araujo et al. 2019, doi:10.23915/distill.00021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from poster_ml.explain.graph import find_layer
from poster_ml.models.graph import parents


@dataclass(frozen=True)
class Axis:
    """Cells along one axis: centre of the first one and distance between centres, in pixels of the picture.

    A pixel's centre lies at its number + .5.
    """

    start: float = 0.5
    step: float = 1.0

    def windowed(self, kernel: int, stride: int, before: float) -> Axis:
        """Returns the cells behind a window of `kernel` cells, moved by `stride`, `before` of it padding."""
        return Axis(self.start + ((kernel - 1) / 2 - before) * self.step, self.step * stride)


def cell_axes(model: keras.Model, layer_name: str) -> tuple[Axis, Axis] | None:
    """Follows the picture's cells from the input to a layer.

    Args:
        model: Keras model; read only. Where branches meet, one is followed: they are centred alike.
        layer_name: a layer with 4-D output.

    Returns: down and across; None behind a layer that moves places in a way that is not known here.
    """
    above = parents(model)
    chain = [find_layer(model, layer_name)]
    while True:
        sources = [name for name in above.get(chain[-1].name, ()) if _is_picture(model.get_layer(name))]
        if not sources:
            break
        chain.append(model.get_layer(sources[-1]))
    axes = (Axis(), Axis())
    for layer, source in zip(chain[-2::-1], chain[:0:-1], strict=True):
        before, after = source.output.shape[1:3], layer.output.shape[1:3]
        moved = _after(layer, axes, before)
        if moved is not None:
            axes = moved
        elif tuple(before) != tuple(after):
            return None
    return axes


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


def _is_picture(layer: Any) -> bool:
    shape = getattr(getattr(layer, "output", None), "shape", ())
    return len(shape) == 4


def _after(layer: Any, axes: tuple[Axis, Axis], sizes: tuple[int, int]) -> tuple[Axis, Axis] | None:
    """The cells behind one layer; None for a layer that is no window and no padding."""
    if isinstance(layer, keras.layers.ZeroPadding2D):
        (top, _), (left, _) = layer.padding
        return axes[0].windowed(1, 1, top), axes[1].windowed(1, 1, left)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return None
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if kernel is None or len(kernel) != 2 or not hasattr(layer, "strides"):
        return None
    dilation = getattr(layer, "dilation_rate", (1, 1))
    found = []
    for axis, size, one, stride, spread in zip(axes, sizes, kernel, layer.strides, dilation, strict=True):
        reach = (one - 1) * spread + 1
        missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
        found.append(axis.windowed(reach, stride, missing // 2 if layer.padding == "same" else 0))
    return found[0], found[1]
