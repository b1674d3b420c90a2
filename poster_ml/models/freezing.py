"""Which part of a backbone is trained (by block, layer or depth in convolutions), and the cut below it."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from poster_ml.errors import UnknownLayerError, nearest
from poster_ml.models import graph
from poster_ml.models.catalogue import find_family
from poster_ml.models.standardize import StandardizeFeatures

HEAD_STARTS = ("flatten", "average_pool")
# Before the name of a feature layer in that of its pooling. Part of the names of stored networks: it stays.
FEATURE_POOL = "tap_"
CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv2DTranspose,
)


def apply_unfreeze(
    model: keras.Model, unfreeze: str | int | Sequence[str], batch_norm: str = "inference"
) -> None:
    """Makes the head and the chosen part of the backbone trainable, and nothing else.

    May be called again with another choice; compile the model afterwards. Families without a
    backbone are always trained whole.

    Args:
        model: from `build_model`, also after saving and loading.
        unfreeze: "none"; "all"; block or layer names (`["block4", "block5"]`); or a number >= 0 of
            convolution layers counted from the top.
        batch_norm: "inference" keeps every BatchNorm of the backbone on its stored statistics, with
            scale and offset frozen; "train" trains those that follow a trainable convolution.

    Raises: UnknownLayerError naming the nearest and the allowed names, or the greatest depth;
        ValueError for another `batch_norm`.
    """
    if batch_norm not in ("inference", "train"):
        raise ValueError(f"batch_norm must be 'inference' or 'train'; received {batch_norm=}")
    has_backbone = find_family(model.name).has_backbone
    chosen = _chosen(model, unfreeze) if has_backbone else set()  # may refuse: before anything is changed
    for layer in model.layers:
        layer.trainable = True
    if not has_backbone:
        return
    inputs_of = graph.parents(model)
    for name in backbone_layers(model):
        layer = model.get_layer(name)
        if isinstance(layer, keras.layers.BatchNormalization):
            (before,) = inputs_of[name]
            follows = isinstance(model.get_layer(before), CONVOLUTIONS) and before in chosen
            layer.trainable = batch_norm == "train" and (name in chosen or follows)
        else:
            layer.trainable = name in chosen


def backbone_layers(model: keras.Model) -> list[str]:
    """Returns the names of the layers between preprocessing and head, from input to output.

    For family cnn these are its convolutions and poolings.
    """
    names = [layer.name for layer in model.layers]
    start = names.index("preprocessing") + 1
    end = next(index for index, name in enumerate(names) if name in HEAD_STARTS)
    return [name for name in names[start:end] if not name.startswith(FEATURE_POOL)]


def convolution_layers(model: keras.Model) -> list[str]:
    """Returns the names of all convolutions, from input to output."""
    return [layer.name for layer in model.layers if isinstance(layer, CONVOLUTIONS)]


def blocks(model: keras.Model) -> dict[str, list[str]]:
    """Returns the backbone's layers by block, from input to output; empty for families without a backbone.

    A layer belongs to the first block whose end depends on it.
    """
    inputs_of = graph.parents(model)
    remaining = backbone_layers(model)
    found: dict[str, list[str]] = {}
    for block, end in find_family(model.name).blocks:
        # A cut network ends inside a block or before it.
        below = graph.ancestors(inputs_of, end) if end in inputs_of else set(remaining)
        members = [name for name in remaining if name in below]
        remaining = [name for name in remaining if name not in below]
        if members:
            found[block] = members
    return found


def trainable_summary(model: keras.Model) -> dict[str, int]:
    """Returns the counts `parameters` and `trainable_parameters`."""
    trainable = sum(int(keras.ops.size(value)) for value in model.trainable_weights)
    return {"parameters": model.count_params(), "trainable_parameters": trainable}


def frozen_cut(model: keras.Model) -> str | None:
    """Finds the deepest layer whose output never changes during training.

    Every path from input to output goes through it, and up to and including it nothing is trained
    and nothing is random except the augmentation before `preprocessing`. Standardisation stays
    above: its statistics are taken from the features below it.

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
    """
    middle = model.get_layer(layer_name).output
    prefix = keras.Model(model.input, middle, name=f"{model.name}_prefix")
    suffix = keras.Model(middle, model.output, name=f"{model.name}_suffix")
    return prefix, suffix


def _chosen(model: keras.Model, unfreeze: str | int | Sequence[str]) -> set[str]:
    """Returns the names of the backbone's layers that are to be trained, BatchNorm aside."""
    if unfreeze == "none":
        return set()
    if unfreeze == "all":
        return set(backbone_layers(model))
    if isinstance(unfreeze, int):
        convolutions = convolution_layers(model)
        if not 0 <= unfreeze <= len(convolutions):
            raise UnknownLayerError(
                f"{model.name} has {len(convolutions)} convolutions, cannot unfreeze the topmost {unfreeze}: "
                f"give a number from 0 to {len(convolutions)}"
            )
        return set(convolutions[len(convolutions) - unfreeze :])
    by_block = blocks(model)
    layers = {name for members in by_block.values() for name in members}
    chosen: set[str] = set()
    for name in [unfreeze] if isinstance(unfreeze, str) else unfreeze:
        if name in by_block:
            chosen.update(by_block[name])
        elif name in layers:
            chosen.add(name)
        else:
            hint = nearest(name, [*by_block, *layers])
            raise UnknownLayerError(
                f"{model.name} has no block or layer {name!r} to unfreeze{hint}: give none, all, a number of "
                f"convolutions, layer names or blocks out of {', '.join(by_block)}"
            )
    return chosen
