"""Reading a network's graph: its layers with 4-D output, its last convolution, the kind of its head."""

from __future__ import annotations

from typing import Any

import keras

from poster_ml.errors import UnknownLayerError, nearest
from poster_ml.models.graph import dominators, parents

# 4-D layers that only pass on, shrink or rearrange what a convolution found.
_PASSING_LAYERS = (
    keras.layers.InputLayer,
    keras.layers.AveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Rescaling,
)
# Layers that change nothing while the network is not training.
_IDENTITY_LAYERS = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise)
_LISTED = 24  # InceptionResNetV2 has over 700 layers with 4-D output; a message stays readable


def check_images(images: Any) -> None:
    """Raises ValueError with the shape and type received unless `images` is (B, H, W, 3) uint8."""
    shape, kind = getattr(images, "shape", None), getattr(images, "dtype", None)
    if shape is None or len(shape) != 4 or shape[-1] != 3 or str(kind) != "uint8":
        raise ValueError(f"images must be (B, H, W, 3) uint8, got shape={shape}, dtype={kind}")


def picture_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers with one 4-D output, from input to output, without the input itself."""
    return [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer) and len(output_shape(layer)) == 4
    ]


def default_layer(model: keras.Model) -> str:
    """Names the last convolution-like layer: where the picture still has places and the meaning is highest.

    That is the last layer with 4-D output that is not pooling, padding or dropout, has more than one
    place, and that no branch goes around (where there is one): `block5_conv3` of VGG-16, `mixed10`
    of InceptionV3, `out_relu` of MobileNetV2.

    Raises: UnknownLayerError where the network has no such layer.
    """
    candidates = [
        str(layer.name)
        for layer in picture_layers(model)
        if not isinstance(layer, _PASSING_LAYERS) and output_shape(layer)[1:3] != (1, 1)
    ]
    if not candidates:
        raise UnknownLayerError(
            "the model has no convolution-like layer with 4-D output, so there is no place a map could show"
        )
    on_every_path = set(dominators(parents(model)))
    return next((name for name in reversed(candidates) if name in on_every_path), candidates[-1])


def find_layer(model: keras.Model, layer_name: str) -> keras.layers.Layer:
    """Returns the layer of that name, which must have 4-D output.

    Raises: UnknownLayerError, listing the last layers with 4-D output.
    """
    layers = {layer.name: layer for layer in picture_layers(model)}
    if layer_name in layers:
        return layers[layer_name]
    raise UnknownLayerError(
        f"no layer {layer_name!r} with 4-D output{nearest(layer_name, list(layers))}; name one of the layers "
        f"with 4-D output: {', '.join(list(layers)[-_LISTED:]) or 'none'}"
    )


def head_layers(model: keras.Model) -> list[Any]:
    """Follows the logit back to the last layer with places, to a branch or to the input.

    Layers that change nothing while the network is not training are left out.
    """
    inputs_of = parents(model)
    sources = [list(inputs_of)[-1]]
    head: list[Any] = []
    while len(sources) == 1:
        layer = model.get_layer(sources[0])
        sources = inputs_of[layer.name]
        passive = isinstance(layer, keras.layers.Activation) and is_linear(layer)
        if passive or isinstance(layer, _IDENTITY_LAYERS):
            continue
        head.append(layer)
        if len(output_shape(layer)) == 4 and not isinstance(layer, keras.layers.GlobalAveragePooling2D):
            break
    return head


def is_linear(layer: Any) -> bool:
    """Says whether a dense or activation layer applies no function of its own."""
    return getattr(layer.activation, "__name__", "") == "linear"


def output_shape(layer: Any) -> tuple[Any, ...]:
    """Returns the shape of a layer's output, batch first; () where it has none or several."""
    output = getattr(layer, "output", None)
    return () if output is None or isinstance(output, list | tuple | dict) else tuple(output.shape)
