"""How an engine draws from a search space, and what settings are as a point in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import BaseTrial

from poster_ml.config import ExperimentConfig, to_mapping
from poster_ml.search_space import Categorical, Filters, Fixed, Parameter, Range, SearchSpace, label

Primitive = str | int | float | bool


@dataclass(frozen=True)
class Dimension:
    """One number or name that an engine draws.

    `kind` is "float", "int" or "choice"; `low` and `high` are inclusive; `step` 0 means continuous (float).
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    log: bool = False
    choices: tuple[Primitive, ...] = ()

    def holds(self, value: object) -> bool:
        """Whether the value can be drawn."""
        if self.kind == "choice":
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.kind == "int" and not isinstance(value, int):
            return False
        if not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-9


def dimensions_of(space: SearchSpace) -> tuple[Dimension, ...]:
    """Returns everything an engine draws, in the order of the file."""
    return tuple(
        dimension for key, parameter in space.parameters.items() for dimension in _drawn(key, parameter)
    )


def overrides(space: SearchSpace, drawn: Mapping[str, Primitive]) -> dict[str, Any]:
    """Turns what an engine drew into configuration overrides, the fixed ones included."""
    return {key: _combine(key, parameter, drawn) for key, parameter in space.parameters.items()}


def _drawn(key: str, parameter: Parameter) -> tuple[Dimension, ...]:
    """What an engine draws for one key; nothing where it is fixed.

    Of a list among the choices it draws the text; of filters `<key>.blocks`, `<key>.first`, `<key>.growth`.
    """
    if isinstance(parameter, Range):
        kind, step = ("int", parameter.step or 1.0) if parameter.whole else ("float", parameter.step)
        return (Dimension(key, kind, parameter.low, parameter.high, step, parameter.log),)
    if isinstance(parameter, Categorical):
        return (Dimension(key, "choice", choices=tuple(map(label, parameter.choices))),)
    if isinstance(parameter, Filters):
        return (
            Dimension(f"{key}.blocks", "int", min(parameter.blocks), max(parameter.blocks), step=1),
            Dimension(f"{key}.first", "int", min(parameter.first), max(parameter.first), step=1, log=True),
            Dimension(f"{key}.growth", "choice", choices=parameter.growth),
        )
    return ()


def _combine(key: str, parameter: Parameter, drawn: Mapping[str, Primitive]) -> Any:
    """The value of one key from what was drawn."""
    if isinstance(parameter, Fixed):
        return parameter.value
    if isinstance(parameter, Categorical):
        return next(choice for choice in parameter.choices if label(choice) == drawn[key])
    if isinstance(parameter, Filters):
        blocks, first, growth = (float(drawn[dimension.name]) for dimension in _drawn(key, parameter))
        return [round(first * growth**block) for block in range(int(blocks))]
    return drawn[key]


def suggest(trial: BaseTrial, space: SearchSpace) -> dict[str, Any]:
    """Draws one point from an Optuna trial and returns it as configuration overrides."""
    drawn: dict[str, Primitive] = {}
    for dimension in dimensions_of(space):
        name = dimension.name
        if dimension.kind == "choice":
            chosen: Any = trial.suggest_categorical(name, list(dimension.choices))
            drawn[name] = chosen
        elif dimension.kind == "int":
            low, high = int(dimension.low), int(dimension.high)
            drawn[name] = trial.suggest_int(name, low, high, step=int(dimension.step), log=dimension.log)
        else:
            step = dimension.step or None
            drawn[name] = trial.suggest_float(
                name, dimension.low, dimension.high, step=step, log=dimension.log
            )
    return overrides(space, drawn)


def default_points(space: SearchSpace, *configs: ExperimentConfig) -> list[dict[str, Primitive]]:
    """Expresses existing settings in the space, to be tried before anything is searched.

    Args:
        space: where they are to be tried.
        configs: for example the variant's own settings and the study's.

    Returns: one point per config, without repeats. A setting outside the space (a list of layers to unfreeze
        where the space counts layers, a rate beyond the range) is left out of its point, so the sampler draws
        it; a point that would be empty is dropped.
    """
    points: list[dict[str, Primitive]] = []
    for config in configs:
        point: dict[str, Primitive] = {}
        for key, parameter in space.parameters.items():
            value = _config_value(config, key)
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
        point = {dimension.name: part for dimension, part in zip(drawn, candidate, strict=True)}
        inside = all(dimension.holds(point[dimension.name]) for dimension in drawn)
        if inside and (not isinstance(parameter, Filters) or _combine(key, parameter, point) == value):
            return point
    return {}


def _config_value(config: ExperimentConfig, key: str) -> Any:
    value: Any = to_mapping(config)
    for part in key.split("."):
        value = value[part]
    return value
