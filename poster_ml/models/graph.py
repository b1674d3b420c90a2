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
    return {layer["name"]: _sources(layer["inbound_nodes"]) for layer in model.get_config()["layers"]}


def _sources(call: Any) -> list[str]:
    """Returns the names of the layers whose outputs stand in the recorded arguments of a layer's call."""
    if isinstance(call, dict):
        if "keras_history" in call:
            return [call["keras_history"][0]]
        call = call.values()
    elif not isinstance(call, list | tuple):
        return []
    return [name for part in call for name in _sources(part)]


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
    position = {name: index for index, name in enumerate(inputs_of)}
    last_use = [0] * len(position)
    for name, sources in inputs_of.items():
        for source in sources:
            last_use[position[source]] = max(last_use[position[source]], position[name])
    found = []
    furthest = 0  # the latest layer that anything before the current one feeds
    for name, index in position.items():
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
        stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()  # Conv2D: conv2d
        match = re.fullmatch(rf"{stem}(?:_(\d+))?", layer.name)
        if match:
            numbered.setdefault(stem, []).append((int(match[1] or 0), layer.name))
    for stem, entries in numbered.items():
        for index, (_, name) in enumerate(sorted(entries)):
            names[name] = f"{stem}_{index}" if index else stem
    return names
