"""Reading a functional model as a graph of layers."""

from __future__ import annotations

import re
from typing import Any

import keras


def parents(model: keras.Model) -> dict[str, list[str]]:
    """Returns the layers that feed each layer, in the order of its arguments.

    Args:
        model: functional, every layer used once.

    Returns: layer name -> names of its inputs; topological order, the input layer first.
    """
    node_of = _nodes(model)
    return {
        layer.name: [tensor._keras_history.operation.name for tensor in node_of[layer.name].input_tensors]
        for layer in model.layers
    }


def input_tensor(model: keras.Model, name: str) -> Any:
    """Returns the tensor (B, ...) that a layer with one input gets in this model, which may share it."""
    return _nodes(model)[name].input_tensors[0]


def _nodes(model: keras.Model) -> dict[str, Any]:
    """Returns layer name -> its call in this model: a layer that two models share has several."""
    node_of: dict[str, Any] = {}
    pending = [tensor._keras_history for tensor in model.outputs]
    while pending:
        history = pending.pop()
        operation = history.operation
        if operation.name not in node_of:
            node = operation._inbound_nodes[history.node_index]
            node_of[operation.name] = node
            pending += [tensor._keras_history for tensor in node.input_tensors]
    return node_of


def ancestors(inputs_of: dict[str, list[str]], name: str) -> set[str]:
    """Returns the layer and everything that it depends on."""
    found: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += inputs_of[current]
    return found


def dominators(inputs_of: dict[str, list[str]]) -> list[str]:
    """Returns the layers that every path from the input to the output goes through, in order.

    In a topological order of a graph with one source and one sink these are the layers that no edge skips.
    """
    names = list(inputs_of)
    position = {name: index for index, name in enumerate(names)}
    last_use = [0] * len(names)
    for name, sources in inputs_of.items():
        for source in sources:
            last_use[position[source]] = max(last_use[position[source]], position[name])
    found = []
    furthest = 0  # the latest layer that anything before the current one feeds
    for index, name in enumerate(names):
        if furthest <= index:
            found.append(name)
        furthest = max(furthest, last_use[index])
    return found


def canonical_names(model: keras.Model) -> dict[str, str]:
    """Returns each layer's name as it would be in a fresh process.

    Keras numbers unnamed layers by how many it made before: the first convolution of a second InceptionV3
    is `conv2d_94`. Here it is `conv2d` again, so that a name means the same layer in every run.
    """
    numbered: dict[str, list[tuple[int, str]]] = {}
    names = {layer.name: layer.name for layer in model.layers}
    for layer in model.layers:
        stem = _snake_case(type(layer).__name__)
        match = re.fullmatch(rf"{stem}(?:_(\d+))?", layer.name)
        if match:
            numbered.setdefault(stem, []).append((int(match[1] or 0), layer.name))
    for stem, entries in numbered.items():
        for index, (_, name) in enumerate(sorted(entries)):
            names[name] = f"{stem}_{index}" if index else stem
    return names


def _snake_case(name: str) -> str:
    """Conv2D -> conv2d, BatchNormalization -> batch_normalization, as Keras names layers."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
