"""Networks as graphs of layers."""

from __future__ import annotations

import keras
import pytest

from poster_ml.models import graph


@pytest.fixture
def branched() -> keras.Model:
    """a -> (b -> c, d) -> e -> (f) -> g with a skip from e to g."""
    inputs = keras.Input((4,), name="in")
    a = keras.layers.Dense(4, name="a")(inputs)
    c = keras.layers.Dense(4, name="c")(keras.layers.Dense(4, name="b")(a))
    d = keras.layers.Dense(3, name="d")(a)
    e = keras.layers.Concatenate(name="e")([d, c])
    f = keras.layers.Dense(7, name="f")(e)
    g = keras.layers.Add(name="g")([f, e])
    return keras.Model(inputs, keras.layers.Dense(1, name="out")(g))


def test_parents_keep_the_order_of_the_arguments(branched: keras.Model) -> None:
    parents = graph.parents(branched)
    assert parents["in"] == []
    assert parents["e"] == ["d", "c"]
    assert parents["g"] == ["f", "e"]


def test_dominators_are_the_layers_on_every_path(branched: keras.Model) -> None:
    assert graph.dominators(graph.parents(branched)) == ["in", "a", "e", "g", "out"]


def test_dominators_of_a_chain_are_all_layers() -> None:
    assert graph.dominators({"x": [], "y": ["x"], "z": ["y"]}) == ["x", "y", "z"]


def test_a_skip_from_the_input_leaves_only_the_ends() -> None:
    assert graph.dominators({"x": [], "y": ["x"], "z": ["y", "x"]}) == ["x", "z"]


def test_dominators_agree_with_removing_one_layer_at_a_time() -> None:
    """Against the definition: without a dominator the output can't be reached."""
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


def test_ancestors_include_the_layer_itself(branched: keras.Model) -> None:
    assert graph.ancestors(graph.parents(branched), "c") == {"in", "a", "b", "c"}


def test_canonical_names_count_from_nothing() -> None:
    def build() -> keras.Model:
        inputs = keras.Input((8, 8, 3))
        first = keras.layers.Conv2D(2, 1)(inputs)
        named = keras.layers.Conv2D(2, 1, name="conv2d_bn_special")(first)
        return keras.Model(inputs, keras.layers.Conv2D(2, 1)(named))

    build()
    names = list(graph.canonical_names(build()).values())
    assert names[1:] == ["conv2d", "conv2d_bn_special", "conv2d_1"]
