"""Cutting a network in two at the top of its frozen part, with the layers shared."""

from __future__ import annotations

import keras

from poster_ml.errors import UnknownLayerError, nearest
from poster_ml.models import graph
from poster_ml.models.freezing import CONVOLUTIONS
from poster_ml.models.standardize import StandardizeFeatures


def frozen_cut(model: keras.Model) -> str | None:
    """Finds the deepest layer whose output never changes during training.

    Every path from input to output goes through it, and up to and including it nothing is trained and
    nothing is random except the augmentation before `preprocessing`. Standardisation stays above: its
    statistics are taken from the features below it.

    Args:
        model: from `build_model`, with its layers frozen as they will be trained.

    Returns: the layer's name, or None where no convolution would be saved.
    """
    passed = set(graph.dominators(graph.parents(model)))
    cut: str | None = None
    preprocessed = convolved = False
    for layer in model.layers:
        preprocessed = preprocessed or layer.name == "preprocessing"
        random = preprocessed and hasattr(layer, "seed_generator")
        if layer.trainable_weights or random or isinstance(layer, StandardizeFeatures):
            break
        convolved = convolved or isinstance(layer, CONVOLUTIONS)
        if convolved and layer.name in passed:
            cut = layer.name
    return cut


def split_at(model: keras.Model, layer_name: str) -> tuple[keras.Model, keras.Model]:
    """Cuts a model in two that share its layers: training the second trains the whole.

    Args:
        model: from `build_model`.
        layer_name: a layer that every path goes through, for example from `frozen_cut`.

    Returns: (prefix, suffix) with suffix(prefix(posters)) == model(posters). Call the prefix with
        `training=False` for features of the posters as they are, with True for an augmented view.

    Raises: UnknownLayerError for a layer that the model lacks or that some path goes around.
    """
    inputs_of = graph.parents(model)
    passed = graph.dominators(inputs_of)
    if layer_name not in inputs_of:
        raise UnknownLayerError(f"{model.name} has no layer {layer_name!r}{nearest(layer_name, inputs_of)}")
    if layer_name not in passed or layer_name in (passed[0], passed[-1]):
        raise UnknownLayerError(
            f"{model.name} cannot be split at {layer_name!r}: a path goes around it or it is an end of the "
            f"network; possible are {', '.join(passed[1:-1])}"
        )
    middle = model.get_layer(layer_name).output
    prefix = keras.Model(model.input, middle, name=f"{model.name}_prefix")
    suffix = keras.Model(middle, model.output, name=f"{model.name}_suffix")
    return prefix, suffix
