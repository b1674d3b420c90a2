"""How an engine draws from a search space, and what settings are as a point in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from poster_ml.config import ExperimentConfig, to_mapping
from poster_ml.search_space import Categorical, Filters, Fixed, Parameter, Range, SearchSpace, label

Primitive = str | int | float | bool
Distribution = FloatDistribution | IntDistribution | CategoricalDistribution


def dimensions_of(space: SearchSpace) -> dict[str, Distribution]:
    """Returns everything an engine draws by its name, in the order of the file."""
    return {
        name: distribution
        for key, parameter in space.parameters.items()
        for name, distribution in _drawn(key, parameter).items()
    }


def overrides(space: SearchSpace, drawn: Mapping[str, Primitive]) -> dict[str, Any]:
    """Turns what an engine drew into configuration overrides, the fixed ones included."""
    return {key: _combine(key, parameter, drawn) for key, parameter in space.parameters.items()}


def _drawn(key: str, parameter: Parameter) -> dict[str, Distribution]:
    """What an engine draws for one key; nothing where it is fixed.

    Of a list among the choices it draws the text; of filters `<key>.blocks`, `<key>.first`, `<key>.growth`.
    """
    if isinstance(parameter, Range):
        if parameter.whole:
            low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
            return {key: IntDistribution(low, high, parameter.log, step)}
        return {key: FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step or None)}
    if isinstance(parameter, Categorical):
        return {key: CategoricalDistribution([label(choice) for choice in parameter.choices])}
    if isinstance(parameter, Filters):
        return {
            f"{key}.blocks": IntDistribution(min(parameter.blocks), max(parameter.blocks)),
            f"{key}.first": IntDistribution(min(parameter.first), max(parameter.first), log=True),
            f"{key}.growth": CategoricalDistribution(parameter.growth),
        }
    return {}


def _combine(key: str, parameter: Parameter, drawn: Mapping[str, Primitive]) -> Any:
    """The value of one key from what was drawn."""
    if isinstance(parameter, Fixed):
        return parameter.value
    if isinstance(parameter, Categorical):
        return next(choice for choice in parameter.choices if label(choice) == drawn[key])
    if isinstance(parameter, Filters):
        blocks, first, growth = (float(drawn[name]) for name in _drawn(key, parameter))
        return [round(first * growth**block) for block in range(int(blocks))]
    return drawn[key]


def suggest(trial: BaseTrial, space: SearchSpace) -> dict[str, Any]:
    """Draws one point from an Optuna trial and returns it as configuration overrides."""
    drawn: dict[str, Any] = {}
    for name, one in dimensions_of(space).items():
        if isinstance(one, CategoricalDistribution):
            drawn[name] = trial.suggest_categorical(name, one.choices)
        elif isinstance(one, IntDistribution):
            drawn[name] = trial.suggest_int(name, one.low, one.high, step=one.step, log=one.log)
        else:
            drawn[name] = trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
    return overrides(space, drawn)


def default_points(space: SearchSpace, *configs: ExperimentConfig) -> list[dict[str, Primitive]]:
    """Expresses existing settings in the space, to be tried before anything is searched.

    Args:
        space: where they are to be tried.
        configs: for example the variant's own settings and the study's.

    Returns: one point per config, without repeats. A setting outside the space (a list of layers to
        unfreeze where the space counts layers, a rate beyond the range) is left out of its point,
        so the sampler draws it; a point that would be empty is dropped.
    """
    points: list[dict[str, Primitive]] = []
    for config in configs:
        point: dict[str, Primitive] = {}
        for key, parameter in space.parameters.items():
            value: Any = reduce(getitem, key.split("."), to_mapping(config))
            if key == "augment.strength" and not config.augment.active:
                value = 0.0  # the space may fix ranges that the experiment does not have
            point.update(_express(key, parameter, value))
        if point and point not in points:
            points.append(point)
    return points


def _express(key: str, parameter: Parameter, value: Any) -> dict[str, Primitive]:
    """Finds what would have to be drawn for a value; empty where it cannot be."""
    drawn = _drawn(key, parameter)
    candidates: list[tuple[Primitive, ...]] = [(value,)]
    if isinstance(parameter, Categorical):
        candidates = [(label(value),)]
    elif isinstance(parameter, Filters):
        candidates = [(len(value), int(value[0]), growth) for growth in parameter.growth]
    elif key == "model.unfreeze" and value == "none" and isinstance(parameter, Range):
        candidates = [(0,)]  # the same thing, counted
    for candidate in candidates if drawn else ():
        point = dict(zip(drawn, candidate, strict=True))
        inside = all(_holds(drawn[name], part) for name, part in point.items())
        if inside and (not isinstance(parameter, Filters) or _combine(key, parameter, point) == value):
            return point
    return {}


def _holds(distribution: Distribution, value: object) -> bool:
    """Whether the value can be drawn."""
    if isinstance(distribution, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in distribution.choices)
    whole = isinstance(distribution, IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    steps = (value - distribution.low) / distribution.step if distribution.step else 0.0
    return distribution.low <= value <= distribution.high and abs(steps - round(steps)) < 1e-9
