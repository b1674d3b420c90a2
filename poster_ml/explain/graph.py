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


def functional_view(model: keras.Model, outputs: Any = None) -> keras.Model:
    """Returns a functional model on the caller's own tensors; the caller's model is not changed.

    Args:
        model: with one input.
        outputs: a tensor of the model or a list of them; None takes the model's own.
    """
    # The tensor itself, not a list of one: PyTorch's backend warns where what is fed has another structure.
    return keras.Model(model.inputs[0], model.outputs if outputs is None else outputs)


def picture_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers with one 4-D output, from input to output, without the input itself."""
    return [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer) and len(_output_shape(layer)) == 4
    ]


def default_layer(model: keras.Model) -> str:
    """Names the last convolution-like layer: where the picture still has places and the meaning is highest.

    That is the last layer with 4-D output that is no pooling, padding or dropout, has more than one place,
    and that no branch goes around (where there is one): `block5_conv3` of VGG-16, `mixed10` of InceptionV3,
    `out_relu` of MobileNetV2.

    Raises: UnknownLayerError where the network has no such layer.
    """
    candidates = [
        str(layer.name)
        for layer in picture_layers(model)
        if not isinstance(layer, _PASSING_LAYERS) and _output_shape(layer)[1:3] != (1, 1)
    ]
    on_every_path = set(dominators(parents(model)))
    whole = [name for name in candidates if name in on_every_path]
    if candidates:
        return (whole or candidates)[-1]
    raise UnknownLayerError(
        "the model has no convolution-like layer with 4-D output, so there is no place a map could show"
    )


def find_layer(model: keras.Model, layer_name: str) -> keras.layers.Layer:
    """Returns the layer of that name, which must have 4-D output.

    Raises: UnknownLayerError, listing the layers with 4-D output.
    """
    layers = {layer.name: layer for layer in picture_layers(model)}
    if layer_name in layers:
        return layers[layer_name]
    names = list(layers)
    listed = ", ".join(names[-_LISTED:]) or "none"
    earlier = f" and {len(names) - _LISTED} earlier ones" if len(names) > _LISTED else ""
    raise UnknownLayerError(
        f"no layer {layer_name!r} with 4-D output{nearest(layer_name, names)}; "
        f"name one of the layers with 4-D output: {listed}{earlier}"
    )


def linear_head(model: keras.Model) -> tuple[Any, Any] | None:
    """Returns the head's two parts where CAM proper is defined: global average pooling, then one linear unit.

    Returns: the layer whose output (B, h, w, K) is pooled, and the linear unit with kernel (K, 1); else None.
    """
    match _head(model):
        case [keras.layers.Dense(units=1) as dense, keras.layers.GlobalAveragePooling2D(), feature_layer]:
            return (feature_layer, dense) if _is_linear(dense) else None
    return None


def has_average_pooling_head(model: keras.Model) -> bool:
    """Says whether the last 4-D output reaches the logit through global average pooling only."""
    return any(isinstance(layer, keras.layers.GlobalAveragePooling2D) for layer in _head(model))


def _head(model: keras.Model) -> list[Any]:
    """Follows the logit back to the last layer with places, to a branch or to the input.

    Layers that change nothing while the network is not training are left out.
    """
    inputs_of = parents(model)
    sources = [list(inputs_of)[-1]]
    head: list[Any] = []
    while len(sources) == 1:
        layer = model.get_layer(sources[0])
        sources = inputs_of[layer.name]
        if isinstance(layer, _IDENTITY_LAYERS):
            continue
        if isinstance(layer, keras.layers.Activation) and _is_linear(layer):
            continue
        head.append(layer)
        if len(_output_shape(layer)) == 4 and not isinstance(layer, keras.layers.GlobalAveragePooling2D):
            break
    return head


def _is_linear(layer: Any) -> bool:
    return getattr(layer.activation, "__name__", "") == "linear"


def _output_shape(layer: Any) -> tuple[int | None, ...]:
    output = getattr(layer, "output", None)
    return () if output is None or isinstance(output, list | tuple | dict) else tuple(output.shape)
