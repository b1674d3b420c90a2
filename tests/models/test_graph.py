"""Networks as graphs of layers."""

from __future__ import annotations

import keras

from poster_ml.models import graph


def test_dominators_are_the_layers_without_which_the_output_cannot_be_reached() -> None:
    backbone = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(75, 75, 3))
    parents = graph.parents(backbone)
    names = list(parents)
    by_definition = [names[0]]
    for removed in names[1:-1]:
        reached = {names[0]}
        for name in names[1:]:
            if name != removed and any(parent in reached for parent in parents[name]):
                reached.add(name)
        if names[-1] not in reached:
            by_definition.append(removed)
    assert graph.dominators(parents) == [*by_definition, names[-1]]
    assert "mixed8" in by_definition
    assert graph.ancestors(parents, names[1]) == set(names[:2])


def test_parents_keep_the_order_of_the_arguments() -> None:
    inputs = keras.Input((4,), name="in")
    low = keras.layers.Dense(4, name="low")(inputs)
    joined = keras.layers.Concatenate(name="joined")([keras.layers.Dense(3, name="high")(low), low])
    assert graph.parents(keras.Model(inputs, joined))["joined"] == ["high", "low"]
