"""From a family's name to one functional model: uint8 posters in, one logit out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from poster_ml.errors import DatasetError, UnknownLayerError, WeightsError, nearest
from poster_ml.models import cnn, graph
from poster_ml.models import weights as weights_module
from poster_ml.models.catalogue import find_family
from poster_ml.models.family import Family
from poster_ml.models.freezing import TAP, apply_unfreeze
from poster_ml.models.preprocessing import PosterPreprocessing
from poster_ml.models.standardize import StandardizeFeatures
from poster_ml.seeding import derive_seed

POOLINGS = ("flatten", "average")
# Root mean square of real posters' pixels after scaling (measured on 64 of them).
INPUT_SIZES = {"unit": 0.55, "symmetric": 0.68, "caffe": 85.0}


def build_model(  # noqa: PLR0913 (one argument per option of a run: no config object down here)
    family: str,
    *,
    input_shape: tuple[int, int, int],
    augmentation: Sequence[keras.layers.Layer] = (),
    preprocessing: str = "backbone",
    weights: str = "imagenet",
    cut: str = "",
    taps: Sequence[str] = (),
    pooling: str = "flatten",
    standardize: bool = False,
    filters: Sequence[int] = (16, 64, 128),
    dense: Sequence[int] = (512,),
    dropout: float = 0.0,
    l2: float = 0.0,
    unfreeze: str | int | Sequence[str] = "none",
    batch_norm: str = "inference",
    seed: int = 42,
) -> keras.Model:
    """Builds poster -> augmentation -> preprocessing -> backbone -> pooling -> dense -> logit.

    The backbone's layers are the model's own, under their usual names (`block5_conv3`, `mixed8`): there is no
    nested model, so that any layer's output can be asked for. The model's name is the family.

    Args:
        family: a key of `FAMILIES`.
        input_shape: (H, W, 3).
        augmentation: layers on pixels 0..255 that act while training only.
        preprocessing: "backbone" for the scale that its weights were trained on, "unit" for pixels / 255.
        weights: "imagenet", "none" or a file; ignored by families without a backbone unless a file.
        cut: name of the backbone's layer to take the output of; empty for its end.
        taps: lower layers of the backbone whose channels, averaged over the places, join the pooled output.
        pooling: "flatten" or "average" (global).
        standardize: bring the pooled features to mean 0 and deviation 1 before the head; the statistics are
            set by whoever trains, see `StandardizeFeatures`.
        filters: channels of the convolutions, family cnn only.
        dense: units of the dense layers (ReLU) before the logit; may be empty.
        dropout: rate after each dense layer, in [0, 1).
        l2: penalty on the squares of the head's kernels, added to the loss; at least 0.
        unfreeze: see `apply_unfreeze`.
        batch_norm: "inference" or "train".
        seed: of initial weights and dropout, an int >= 0.

    Returns: a model with input `poster` (B, H, W, 3) uint8 and output `logit` (B, 1) float32.

    Raises: UnknownFamilyError, UnknownLayerError, WeightsError, DatasetError (posters too small);
        ValueError for values that no configuration lets through.
    """
    chosen = find_family(family)
    _check(chosen, input_shape, preprocessing, pooling, dropout)
    poster = keras.Input(input_shape, dtype="uint8", name="poster")
    images: Any = poster
    for layer in augmentation:
        images = layer(images)  # (B, H, W, 3) float32 in 0..255
    scale = chosen.scale if preprocessing == "backbone" else "unit"
    images = PosterPreprocessing(scale, name="preprocessing")(images)
    if chosen.has_backbone:
        features, tapped = _backbone(chosen, images, weights, (cut, taps), seed, INPUT_SIZES[scale])
    else:
        _refuse_backbone_options(chosen, weights, cut, taps)
        features, tapped = cnn.tower(images, filters, seed), {}
    values = _pool(features, tapped, pooling, standardize)
    logit = _head(values, dense, dropout, l2, seed)
    model = keras.Model(poster, logit, name=chosen.name)
    apply_unfreeze(model, unfreeze, batch_norm=batch_norm)
    return model


def _check(
    family: Family, input_shape: tuple[int, int, int], preprocessing: str, pooling: str, dropout: float
) -> None:
    height, width, channels = input_shape
    if channels != 3:
        raise ValueError(f"input_shape must be (height, width, 3); received {input_shape=}")
    if preprocessing not in ("backbone", "unit"):
        raise ValueError(f"preprocessing must be 'backbone' or 'unit'; received {preprocessing=}")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}; received {pooling=}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1); received {dropout=}")
    if min(height, width) < family.smallest_size:
        raise DatasetError(
            f"{family.name} needs posters of at least {family.smallest_size}x{family.smallest_size} pixels, "
            f"got {height}x{width}: prepare the dataset with --size {family.smallest_size} or more"
        )


def _refuse_backbone_options(family: Family, weights: str, cut: str, taps: Sequence[str]) -> None:
    if cut:
        raise UnknownLayerError(f"{family.name} has no backbone to cut at {cut!r}: leave 'cut' empty")
    if taps:
        raise UnknownLayerError(f"{family.name} has no backbone to tap at {taps}: leave 'taps' empty")
    if weights not in ("imagenet", "none"):
        raise WeightsError(
            f"{family.name} has no backbone to load {weights} into: leave out --weights or choose vgg16, "
            "inception_v3, inception_resnet_v2 or mobilenet_v2"
        )


def _backbone(
    family: Family, images: Any, weights: str, ends: tuple[str, Sequence[str]], seed: int, pixel_size: float
) -> tuple[Any, dict[str, Any]]:
    """Puts a backbone's layers on top of preprocessed images, weights and all.

    Args:
        ends: the layer to cut at (empty: the backbone's end), and the layers that are tapped.

    Returns: the output (B, h, w, K), and that of every tapped layer by name.
    """
    cut, taps = ends
    source = weights_module.build_weighted_backbone(family, tuple(images.shape[1:]), weights)
    names = graph.canonical_names(source)
    last = cut or names[source.layers[-1].name]
    inputs_of = {names[name]: inputs for name, inputs in graph.parents(source).items()}
    if last not in inputs_of or not inputs_of[last]:
        blocks = [end for _, end in family.blocks]
        raise UnknownLayerError(
            f"{family.name} has no layer {cut!r} to cut at{nearest(cut, inputs_of)}: "
            f"give a layer name, for example one of the blocks' ends {', '.join(blocks)}"
        )

    def copy(layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
        config = {**layer.get_config(), "name": name}
        input_size = pixel_size if name == family.first_convolution else 1.0
        initializer = _he_normal(config, derive_seed(seed, "initialize", name), input_size)
        for key in ("kernel_initializer", "depthwise_initializer"):
            if key in config:
                config[key] = initializer
        return type(layer).from_config(config)

    features, copies = graph.rethread(source, images, last, copy)
    if weights != "none":
        for name, layer in copies.items():
            layer.set_weights(source.get_layer(name).get_weights())
    outputs = {layer.name: layer.output for layer in copies.values()}
    pictures = [name for name, output in outputs.items() if len(output.shape) == 4 and name != last]
    for tap in taps:
        if tap not in pictures:
            raise UnknownLayerError(
                f"{family.name} has no layer {tap!r} under its end {last!r} to tap{nearest(tap, pictures)}: "
                f"give layer names, for example {', '.join(e for _, e in family.blocks if e in pictures)}"
            )
    return features, {tap: outputs[tap] for tap in taps}


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


def _pool(features: Any, tapped: dict[str, Any], pooling: str, standardize: bool) -> Any:
    """From pictures (B, h, w, K) to one vector per poster: the pooled output, then the taps."""
    if pooling == "flatten":
        values = keras.layers.Flatten(name="flatten")(features)  # (B, h * w * K)
    else:
        values = keras.layers.GlobalAveragePooling2D(name="average_pool")(features)  # (B, K)
    if tapped:
        pooled = [
            keras.layers.GlobalAveragePooling2D(name=f"{TAP}{name}")(output)
            for name, output in tapped.items()
        ]
        values = keras.layers.Concatenate(name="joined_features")([values, *pooled])
    return StandardizeFeatures(name="standardize")(values) if standardize else values


def _head(values: Any, dense: Sequence[int], dropout: float, l2: float, seed: int) -> Any:
    """Dense layers with ReLU and dropout on (B, K), and the logit in float32."""
    for number, units in enumerate(dense, start=1):
        name = f"dense_{number}"
        values = keras.layers.Dense(
            units,
            activation="relu",
            kernel_initializer=_glorot(seed, name),
            kernel_regularizer=_penalty(l2),
            name=name,
        )(values)
        if dropout > 0:
            name = f"dropout_{number}"
            values = keras.layers.Dropout(dropout, seed=derive_seed(seed, name), name=name)(values)
    return keras.layers.Dense(
        1,
        kernel_initializer=_glorot(seed, "logit"),
        kernel_regularizer=_penalty(l2),
        dtype="float32",
        name="logit",
    )(values)


def _penalty(l2: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(l2) if l2 > 0 else None


def _glorot(seed: int, name: str) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=derive_seed(seed, "initialize", name))
