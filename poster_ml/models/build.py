"""From an architecture to one functional model: uint8 posters in, one logit out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from poster_ml.errors import DatasetError, UnknownLayerError, WeightsError, nearest
from poster_ml.models import cnn, graph
from poster_ml.models.catalogue import Family, find_family
from poster_ml.models.freezing import FEATURE_POOL, apply_unfreeze
from poster_ml.models.preprocessing import PosterPreprocessing
from poster_ml.models.standardize import StandardizeFeatures
from poster_ml.models.weights import build_weighted_backbone
from poster_ml.seeding import derive_seed

# Root mean square of real posters' pixels after scaling (measured on 64 of them).
INPUT_SIZES = {"unit": 0.55, "symmetric": 0.68, "caffe": 85.0}


@dataclass(frozen=True)
class Architecture:
    """Layers of a network, whatever its weights and whichever of them are trained.

    Attributes:
        family: a key of `FAMILIES`.
        input_shape: (H, W, 3).
        preprocessing: "backbone" for the scale that its weights were trained on, "unit" for pixels / 255.
        output_layer: name of the backbone's layer to take the output of; empty for its end.
        feature_layers: lower layers of the backbone whose channels, averaged over the places, join the
            pooled output (multi-level features).
        pooling: "flatten", "average" (global), or "average_maximum" for both beside each other.
        standardize: bring the pooled features to mean 0 and deviation 1 before the head; the statistics are
            set by whoever trains, see `StandardizeFeatures`.
        filters: channels of the convolutions, family cnn only.
        dense: units of the dense layers (ReLU) before the logit; may be empty.
        dropout: rate after each dense layer, in [0, 1).
        l2: penalty on the squares of the head's kernels, added to the loss; at least 0.
    """

    family: str
    input_shape: tuple[int, int, int]
    preprocessing: str = "backbone"
    output_layer: str = ""
    feature_layers: tuple[str, ...] = ()
    pooling: str = "flatten"
    standardize: bool = False
    filters: tuple[int, ...] = (16, 64, 128)
    dense: tuple[int, ...] = (512,)
    dropout: float = 0.0
    l2: float = 0.0


def build_model(
    architecture: Architecture,
    *,
    augmentation: Sequence[keras.layers.Layer] = (),
    weights: str = "imagenet",
    unfreeze: str | int | Sequence[str] = "none",
    batch_norm: str = "inference",
    seed: int = 42,
) -> keras.Model:
    """Builds poster -> augmentation -> preprocessing -> backbone -> pooling -> dense -> logit.

    The backbone's layers are the model's own, under their usual names (`block5_conv3`, `mixed8`): there is no
    nested model, so that any layer's output can be asked for. The model's name is the family.

    Args:
        architecture: the layers.
        augmentation: layers on pixels 0..255 that act while training only.
        weights: "imagenet", "none" or a file; ignored by families without a backbone unless a file.
        unfreeze: see `apply_unfreeze`.
        batch_norm: "inference" or "train".
        seed: of initial weights and dropout, an int >= 0.

    Returns: a model with input `poster` (B, H, W, 3) uint8 and output `logit` (B, 1) float32.

    Raises: UnknownFamilyError, UnknownLayerError, WeightsError, DatasetError (posters too small).
    """
    family = find_family(architecture.family)
    height, width = architecture.input_shape[:2]
    if min(height, width) < family.smallest_size:
        raise DatasetError(
            f"{family.name} needs posters of at least {family.smallest_size}x{family.smallest_size} pixels, "
            f"got {height}x{width}: prepare the dataset with --size {family.smallest_size} or more"
        )
    poster = keras.Input(architecture.input_shape, dtype="uint8", name="poster")
    images: Any = poster
    for layer in augmentation:
        images = layer(images)  # (B, H, W, 3) float32 in 0..255
    scale = family.scale if architecture.preprocessing == "backbone" else "unit"
    images = PosterPreprocessing(scale, name="preprocessing")(images)
    if family.has_backbone:
        features, lower = _backbone(family, architecture, images, weights, INPUT_SIZES[scale], seed)
    else:
        if architecture.output_layer:
            raise UnknownLayerError(
                f"{family.name} has no backbone with a layer {architecture.output_layer}: leave "
                "'output_layer' empty"
            )
        if weights not in ("imagenet", "none"):
            raise WeightsError(f"{family.name} has no backbone to load {weights} into: leave --weights out")
        features, lower = cnn.tower(images, architecture.filters, seed), {}
    values = _pool(features, lower, architecture)
    model = keras.Model(poster, _head(values, architecture, seed), name=family.name)
    apply_unfreeze(model, unfreeze, batch_norm=batch_norm)
    return model


def _backbone(
    family: Family, architecture: Architecture, images: Any, weights: str, input_size: float, seed: int
) -> tuple[Any, dict[str, Any]]:
    """Puts a backbone's layers, up to the cut, on top of preprocessed images, weights and all.

    Returns: the output (B, h, w, K), and that of every feature layer by name.
    """
    source = build_weighted_backbone(family, architecture.input_shape, weights)
    inputs_of = graph.parents(source)
    names = graph.canonical_names(source)
    original = {names[name]: name for name, inputs in inputs_of.items() if inputs}
    last = architecture.output_layer or names[source.layers[-1].name]
    if last not in original:
        blocks = [end for _, end in family.blocks]
        raise UnknownLayerError(
            f"{family.name} has no layer {last!r} to end at{nearest(last, original)}: "
            f"give a layer name, for example one of the blocks' ends {', '.join(blocks)}"
        )
    wanted = graph.ancestors(inputs_of, original[last])
    tensors = {source.layers[0].name: images}
    for layer in source.layers[1:]:
        if layer.name in wanted:
            name = names[layer.name]
            copy = _copy(layer, name, input_size if name == family.first_convolution else 1.0, seed)
            inputs = [tensors[parent] for parent in inputs_of[layer.name]]
            tensors[layer.name] = copy(inputs if len(inputs) > 1 else inputs[0])
            if weights != "none":
                copy.set_weights(layer.get_weights())
    outputs = {name: tensors[original[name]] for name in original if original[name] in wanted}
    pictures = [name for name, output in outputs.items() if len(output.shape) == 4 and name != last]
    for name in architecture.feature_layers:
        if name not in pictures:
            ends = ", ".join(end for _, end in family.blocks if end in pictures)
            raise UnknownLayerError(
                f"{family.name} has no layer {name!r} with features below its output layer {last!r}"
                f"{nearest(name, pictures)}: give layer names, for example {ends}"
            )
    return outputs[last], {name: outputs[name] for name in architecture.feature_layers}


def _copy(layer: keras.layers.Layer, name: str, input_size: float, seed: int) -> keras.layers.Layer:
    """Returns a layer of the same configuration under another name, with random weights of its own seed."""
    config = {**layer.get_config(), "name": name}
    initializer = _he_normal(config, derive_seed(seed, "initialize", name), input_size)
    for key in ("kernel_initializer", "depthwise_initializer"):
        if key in config:
            config[key] = initializer
    return type(layer).from_config(config)


def _he_normal(config: dict[str, Any], seed: int, input_size: float) -> keras.initializers.Initializer:
    """Random weights that keep the size of the signal from layer to layer, whatever the depth.

    Source: He et al. 2015 (arXiv:1502.01852), eq. 10. Keras' own default (Glorot) loses half of the variance
    per ReLU: after VGG-16's thirteen convolutions little is left, and as BatchNorm stays on its initial
    statistics, MobileNetV2's features came out at 1e-12.

    Args:
        config: of the layer; a depthwise kernel sees one channel, which Keras' fan-in does not know.
        seed: of the draw.
        input_size: root mean square of the layer's input where it is known not to be near 1.
    """
    gain = 2.0 / input_size**2
    if "depthwise_initializer" in config:
        height, width = config["kernel_size"]
        return keras.initializers.RandomNormal(stddev=math.sqrt(gain / (height * width)), seed=seed)
    return keras.initializers.VarianceScaling(gain, "fan_in", "truncated_normal", seed=seed)


def _pool(features: Any, lower: dict[str, Any], architecture: Architecture) -> Any:
    """From pictures (B, h, w, K) to one vector per poster.

    The pooled output, then the averages of the feature_layers, then the maxima of all of them.
    """
    average, maximum = keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D
    if architecture.pooling == "flatten":
        values = keras.layers.Flatten(name="flatten")(features)  # (B, h * w * K)
    else:
        values = average(name="average_pool")(features)  # (B, K)
    pooled = [average(name=f"{FEATURE_POOL}{name}")(output) for name, output in lower.items()]
    if architecture.pooling == "average_maximum":
        for name, output in {"output": features, **lower}.items():
            pooled.append(maximum(name=f"{FEATURE_POOL}maximum_{name}")(output))
    if pooled:
        values = keras.layers.Concatenate(name="joined_features")([values, *pooled])
    return StandardizeFeatures(name="standardize")(values) if architecture.standardize else values


def _head(values: Any, architecture: Architecture, seed: int) -> Any:
    """Dense layers with ReLU and dropout on (B, K), and the logit in float32."""

    def dense(units: int, name: str, **options: Any) -> keras.layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=derive_seed(seed, "initialize", name))
        penalty = keras.regularizers.L2(architecture.l2) if architecture.l2 > 0 else None
        return keras.layers.Dense(
            units, kernel_initializer=initializer, kernel_regularizer=penalty, name=name, **options
        )

    for number, units in enumerate(architecture.dense, start=1):
        values = dense(units, f"dense_{number}", activation="relu")(values)
        if architecture.dropout > 0:
            name = f"dropout_{number}"
            rate, dropout_seed = architecture.dropout, derive_seed(seed, name)
            values = keras.layers.Dropout(rate, seed=dropout_seed, name=name)(values)
    return dense(1, "logit", dtype="float32")(values)
