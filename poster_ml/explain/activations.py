"""Intermediate layers as pictures: what a convolution's channels, and the ReLU after it, answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from matplotlib import colormaps
from skimage.util import montage

from poster_ml.explain.graph import find_layer, picture_layers
from poster_ml.figures import new_figure, picture_axis, save_figure
from poster_ml.models.freezing import CONVOLUTIONS
from poster_ml.models.graph import parents

MAPS_PER_ROW = 16
SHOWN_CONVOLUTIONS = (1, 4, 9)  # as in the study
_MAXIMUM_MAPS = 256  # a grid of more than 16 rows is read by nobody


def convolution_names(model: keras.Model) -> list[str]:
    """Names the convolutions of a network, from input to output; none of an ensemble of networks."""
    return [str(layer.name) for layer in picture_layers(model) if isinstance(layer, CONVOLUTIONS)]


def default_activation_layers(model: keras.Model) -> list[str]:
    """Names the 1st, 4th and 9th convolution, each followed by its ReLU where that is a layer of its own.

    A network with fewer convolutions gives fewer names. Where the ReLU is part of the convolution's
    layer (VGG-16, basic_cnn) the layer's output is already rectified and stands for both.
    """
    names = convolution_names(model)
    shown = [names[number - 1] for number in SHOWN_CONVOLUTIONS if number <= len(names)]
    return [found for name in shown for found in (name, _rectifier_after(model, name)) if found]


def write_activation_grids(
    model: keras.Model, image: np.ndarray, folder: Path, layer_names: Sequence[str] = ()
) -> list[Path]:
    """Writes one grid per layer, 16 maps per row, as `activations_<layer>.png`.

    Each map is stretched between its own lowest and highest value; a constant channel is grey.

    Args:
        model: read only.
        image: (H, W, 3) uint8, one poster.
        folder: where the PNG files go; it is made.
        layer_names: layers with output (B, h, w, K); none takes `default_activation_layers`.

    Returns: the paths, in the order of the layers; none for a network without convolutions.
    Raises: UnknownLayerError, listing the layers with 4-D output.
    """
    names = list(layer_names) or default_activation_layers(model)
    if not names:
        return []
    view = keras.Model(model.inputs[0], [find_layer(model, name).output for name in names])
    outputs = keras.tree.flatten(view.predict_on_batch(image[None]))
    return [
        _write_grid(folder / f"activations_{name}.png", name, np.asarray(output[0], np.float32))
        for name, output in zip(names, outputs, strict=True)
    ]


def activation_mosaic(maps: np.ndarray) -> np.ndarray:
    """Puts (h, w, K) maps side by side, 16 per row, stretched to [0, 1]; NaN between them and where constant.

    Returns: (rows, columns) float32; the gaps grow with the maps.
    """
    _, width, count = maps.shape
    spread = np.ptp(maps, axis=(0, 1))
    stretched = (maps - maps.min(axis=(0, 1))) / np.where(spread > 0, spread, np.nan)
    grid, gap = (math.ceil(count / MAPS_PER_ROW), min(MAPS_PER_ROW, count)), max(1, width // 28)
    tiles = np.moveaxis(stretched, -1, 0)
    return np.asarray(montage(tiles, fill=np.nan, grid_shape=grid, padding_width=gap))


def _write_grid(path: Path, name: str, maps: np.ndarray) -> Path:
    mosaic = activation_mosaic(maps[..., :_MAXIMUM_MAPS])
    constant = int((np.ptp(maps, axis=(0, 1)) == 0).sum())
    height, width, count = maps.shape
    figure, axes = new_figure(10.0, min(40.0, 10.0 * mosaic.shape[0] / mosaic.shape[1]) + 0.45)
    axis = axes[0][0]
    picture_axis(axis)
    colours = colormaps["magma"].with_extremes(bad="#BBBBBB")
    axis.imshow(np.ma.masked_invalid(mosaic), cmap=colours, vmin=0, vmax=1, aspect="auto")
    cut = f", the first {_MAXIMUM_MAPS} shown" if count > _MAXIMUM_MAPS else ""
    note = (
        f"{count} channels of {height} x {width}{cut}; {constant} the same everywhere on this poster (grey)"
    )
    axis.set_title(name, loc="left", fontsize=12, weight="bold", parse_math=False)
    axis.set_title(note, loc="right", fontsize=9)
    return save_figure(figure, path)


def _rectifier_after(model: keras.Model, name: str) -> str:
    """The ReLU layer that takes this layer's output, batch normalisation between or not; else empty."""
    inputs_of = parents(model)
    for layer in picture_layers(model):
        if inputs_of[layer.name] != [name]:
            continue
        if isinstance(layer, keras.layers.BatchNormalization):
            name = str(layer.name)
        elif isinstance(layer, keras.layers.ReLU) or (
            isinstance(layer, keras.layers.Activation) and layer.activation.__name__.startswith("relu")
        ):
            return str(layer.name)
    return ""
