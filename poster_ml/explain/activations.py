"""Intermediate layers as pictures: what a convolution's channels, and the ReLU after it, answer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from poster_ml.explain.gradients import padded_batches
from poster_ml.explain.graph import check_images, find_layer, functional_view, picture_layers
from poster_ml.explain.maps import resize_maps
from poster_ml.figures import INK, NEUTRAL, PAPER, picture_axis, save_figure
from poster_ml.models.freezing import CONVOLUTIONS

MAPS_PER_ROW = 16
SHOWN_CONVOLUTIONS = (1, 4, 9)  # as in the study
_MAXIMUM_MAPS = 256  # a grid of more than 16 rows is read by nobody
_TILE = 56  # pixels: longer side of one map, at most


def default_activation_layers(model: keras.Model) -> list[str]:
    """Names the 1st, 4th and 9th convolution, each followed by its ReLU where that is a layer of its own.

    A network with fewer convolutions gives fewer names. Where the ReLU is part of the convolution's layer
    (VGG-16, basic_cnn) the layer's output is already rectified and stands for both.
    """
    layers = [layer for layer in picture_layers(model) if isinstance(layer, CONVOLUTIONS)]
    names: list[str] = []
    for number in SHOWN_CONVOLUTIONS:
        if number > len(layers):
            break
        names.append(str(layers[number - 1].name))
        rectifier = _rectifier_after(model, layers[number - 1])
        if rectifier is not None:
            names.append(str(rectifier.name))
    return names


def layer_outputs(
    model: keras.Model, images: np.ndarray, layer_names: Sequence[str], batch_size: int = 16
) -> Iterator[dict[str, np.ndarray]]:
    """Runs the network and yields what some layers give, batch by batch.

    Args:
        model: read only.
        images: (B, H, W, 3) uint8.
        layer_names: layers with output (B, h, w, K), at least one.
        batch_size: posters per pass; bounds the memory.

    Yields: name -> (b, h, w, K) float32, in inference mode.
    Raises: UnknownLayerError, listing the layers with 4-D output; ValueError with the shape received.
    """
    check_images(images)
    view = functional_view(model, [find_layer(model, name).output for name in layer_names])
    for chunk, count in padded_batches(images, batch_size):
        results = view.predict_on_batch(chunk)
        results = results if isinstance(results, list | tuple) else [results]
        yield {
            name: np.asarray(result, np.float32)[:count]
            for name, result in zip(layer_names, results, strict=True)
        }


def dead_channels(
    model: keras.Model, images: np.ndarray, layer_name: str, batch_size: int = 16
) -> np.ndarray:
    """Finds the channels that are the same at every place of every poster: after a ReLU, the silent ones.

    Ask at the ReLU, not at the convolution before it: that varies even where the ReLU lets nothing pass.

    Args:
        model: read only.
        images: (B, H, W, 3) uint8, B at least 1; the more, the surer that a silent channel is dead.
        layer_name: a layer with output (B, h, w, K).
        batch_size: posters per pass; bounds the memory.

    Returns: int array of channel numbers, ascending.
    Raises: UnknownLayerError; ValueError with the shape received.
    """
    if len(images) == 0:
        raise ValueError(f"at least one image is needed to find dead channels, got {images.shape=}")
    lowest, highest = np.inf, -np.inf
    for outputs in layer_outputs(model, images, [layer_name], batch_size):
        output = outputs[layer_name]
        lowest = np.minimum(lowest, output.min(axis=(0, 1, 2)))
        highest = np.maximum(highest, output.max(axis=(0, 1, 2)))
    return np.flatnonzero(np.asarray(lowest) == np.asarray(highest))


def write_activation_grids(
    model: keras.Model, image: np.ndarray, folder: Path, layer_names: Sequence[str] | None = None
) -> list[Path]:
    """Writes one grid per layer, 16 maps per row, as `activations_<layer>.png`.

    Each map is stretched between its own lowest and highest value; a constant channel is grey.

    Args:
        model: read only.
        image: (H, W, 3) uint8, one poster.
        folder: where the PNG files go; it is made.
        layer_names: layers with output (B, h, w, K); None takes `default_activation_layers`.

    Returns: the paths, in the order of the layers; none for a network without convolutions.
    Raises: UnknownLayerError, listing the layers with 4-D output; ValueError with the shape received.
    """
    if image.ndim != 3:
        raise ValueError(f"image must be (H, W, 3), got {image.shape=}")
    names = default_activation_layers(model) if layer_names is None else list(layer_names)
    if not names:
        return []
    (outputs,) = layer_outputs(model, image[None], names)
    paths = []
    for name, output in outputs.items():
        safe_name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        paths.append(_write_grid(folder / f"activations_{safe_name}.png", name, output[0]))
    return paths


def activation_mosaic(maps: np.ndarray) -> np.ndarray:
    """Puts (h, w, K) maps side by side, 16 per row, stretched to [0, 1]; NaN between them and where constant.

    Returns: (rows * (tile + 1) - 1, columns * (tile + 1) - 1) float32.
    """
    height, width, count = maps.shape
    columns, rows = min(MAPS_PER_ROW, count), math.ceil(count / MAPS_PER_ROW)
    mosaic = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for channel in range(count):
        values = maps[..., channel]
        spread = values.max() - values.min()
        if spread == 0:
            continue
        row, column = divmod(channel, MAPS_PER_ROW)
        top, left = row * (height + 1), column * (width + 1)
        mosaic[top : top + height, left : left + width] = (values - values.min()) / spread
    return mosaic


def _write_grid(path: Path, name: str, maps: np.ndarray) -> Path:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    shown = _shrink(maps[..., :_MAXIMUM_MAPS])
    mosaic = activation_mosaic(shown)
    constant = int((maps.max(axis=(0, 1)) == maps.min(axis=(0, 1))).sum())
    height, width, count = maps.shape
    width_inches = 10.0
    height_inches = min(40.0, width_inches * mosaic.shape[0] / mosaic.shape[1]) + 0.45
    figure = Figure(figsize=(width_inches, height_inches), facecolor=PAPER)
    axis = figure.add_axes((0.01, 0.01, 0.98, (height_inches - 0.45) / height_inches - 0.01))
    picture_axis(axis)
    colours = colormaps["magma"].with_extremes(bad="#BBBBBB")
    axis.imshow(
        np.ma.masked_invalid(mosaic), cmap=colours, vmin=0, vmax=1, interpolation="nearest", aspect="auto"
    )
    head = 1 - 0.22 / height_inches
    figure.text(0.01, head, name, fontsize=12, weight="bold", color=INK, va="center", parse_math=False)
    cut = f", the first {_MAXIMUM_MAPS} shown" if count > _MAXIMUM_MAPS else ""
    note = (
        f"{count} channels of {height} x {width}{cut}; {constant} the same everywhere on this poster (grey)"
    )
    figure.text(0.99, head, note, fontsize=9, color=NEUTRAL, va="center", ha="right")
    return save_figure(figure, path)


def _shrink(maps: np.ndarray) -> np.ndarray:
    """Shrinks maps (h, w, K) whose longer side is over a tile's, by area."""
    scale = _TILE / max(maps.shape[:2])
    if scale >= 1:
        return maps
    height, width = (max(1, round(side * scale)) for side in maps.shape[:2])
    return np.moveaxis(resize_maps(np.moveaxis(maps, -1, 0), height, width, Image.Resampling.BOX), 0, -1)


def _rectifier_after(model: keras.Model, convolution: Any) -> Any:
    """The ReLU layer that takes this convolution's output, batch normalisation between or not; else None."""
    tensor = convolution.output
    for layer in picture_layers(model):
        if getattr(layer, "input", None) is not tensor:
            continue
        if isinstance(layer, keras.layers.BatchNormalization):
            tensor = layer.output
        elif isinstance(layer, keras.layers.ReLU) or _is_relu(layer):
            return layer
    return None


def _is_relu(layer: Any) -> bool:
    named = getattr(getattr(layer, "activation", None), "__name__", "")
    return isinstance(layer, keras.layers.Activation) and named.startswith("relu")
