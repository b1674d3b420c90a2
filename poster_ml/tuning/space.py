"""Search spaces: what is searched, where, and how either engine draws from it.

Each parameter says its role (the words of the "Deep Learning Tuning Playbook", Godbole et al. 2023):
scientific, what the search is about; nuisance, what must be tuned along for a fair comparison; fixed, held
at one value and said so. Keys are dotted configuration keys.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from poster_ml import config as configuration
from poster_ml.config import ExperimentConfig

Primitive = str | int | float | bool


class Suggests(Protocol):
    """What a space needs of an Optuna trial."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draws a float."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Draws an int."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draws one of the choices."""


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


@dataclass(frozen=True)
class Parameter:
    """One configuration key and where it is searched.

    A `categorical` choice may be a list (`[512, 512]`); engines then draw its text. `filters` searches the
    convolutions of family `cnn` by three dimensions: `<key>.blocks`, `<key>.first` (filters of the first
    block, drawn on a log scale) and `<key>.growth` (each block has growth times the filters before it).
    """

    key: str
    role: str
    kind: str = "fixed"
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    choices: tuple[Any, ...] = ()
    blocks: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    growth: tuple[float, ...] = ()
    value: Any = None

    def dimensions(self) -> tuple[Dimension, ...]:
        """Returns what an engine draws for it; nothing where it is fixed."""
        if self.role == "fixed":
            return ()
        if self.kind == "categorical":
            return (Dimension(self.key, "choice", choices=tuple(map(label, self.choices))),)
        if self.kind == "filters":
            return (
                Dimension(f"{self.key}.blocks", "int", self.blocks[0], self.blocks[1], step=1),
                Dimension(f"{self.key}.first", "int", self.first[0], self.first[1], step=1, log=True),
                Dimension(f"{self.key}.growth", "choice", choices=self.growth),
            )
        whole = self.kind in {"int", "log_int"}
        step = float(self.step or 1) if whole else self.step
        kind = "int" if whole else "float"
        return (Dimension(self.key, kind, self.low, self.high, step, log=self.kind.startswith("log")),)

    def combine(self, drawn: Mapping[str, Primitive]) -> Any:
        """Turns what was drawn into the value of the configuration key."""
        if self.role == "fixed":
            return self.value
        if self.kind == "categorical":
            return next(choice for choice in self.choices if label(choice) == drawn[self.key])
        if self.kind == "filters":
            names = [dimension.name for dimension in self.dimensions()]
            blocks, first, growth = (float(drawn[name]) for name in names)
            return [round(first * growth**block) for block in range(int(blocks))]
        return drawn[self.key]


@dataclass(frozen=True)
class Fidelity:
    """Cheap trials, and the rule by which some are promoted to full training.

    The `promote` best finished trials are trained again on all posters with the experiment's own number of
    epochs and `seeds` seeds each; only these are compared with one another and with the default settings.
    """

    limit: int = 0  # posters a trial sees; 0: all
    epochs: int = 0  # epochs of a trial; 0: the experiment's own
    promote: int = 3
    seeds: int = 3


@dataclass(frozen=True)
class SearchSpace:
    """A search space as read from a file."""

    variant: str
    parameters: tuple[Parameter, ...]
    fidelity: Fidelity = Fidelity()
    source: str = ""

    def dimensions(self) -> tuple[Dimension, ...]:
        """Returns everything an engine draws, in the order of the file."""
        return tuple(dimension for parameter in self.parameters for dimension in parameter.dimensions())

    def overrides(self, drawn: Mapping[str, Primitive]) -> dict[str, Any]:
        """Turns what an engine drew into configuration overrides, the fixed ones included."""
        return {parameter.key: parameter.combine(drawn) for parameter in self.parameters}

    def keys(self, role: str) -> tuple[str, ...]:
        """Returns the keys with that role."""
        return tuple(parameter.key for parameter in self.parameters if parameter.role == role)

    def fingerprint(self) -> str:
        """Returns 12 hex digits that change with any range, choice, fixed value or fidelity."""
        parts = [dataclasses.asdict(parameter) for parameter in self.parameters]
        trial = {"limit": self.fidelity.limit, "epochs": self.fidelity.epochs}
        text = json.dumps([parts, trial], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def suggest(trial: Suggests, space: SearchSpace) -> dict[str, Any]:
    """Draws one point from an Optuna trial and returns it as configuration overrides."""
    drawn: dict[str, Primitive] = {}
    for dimension in space.dimensions():
        name = dimension.name
        if dimension.kind == "choice":
            drawn[name] = trial.suggest_categorical(name, list(dimension.choices))
        elif dimension.kind == "int":
            low, high, step = int(dimension.low), int(dimension.high), int(dimension.step)
            drawn[name] = trial.suggest_int(name, low, high, step=step, log=dimension.log)
        else:
            step_or_none = dimension.step or None
            drawn[name] = trial.suggest_float(
                name, dimension.low, dimension.high, step=step_or_none, log=dimension.log
            )
    return space.overrides(drawn)


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
        for parameter in space.parameters:
            value = _config_value(config, parameter.key)
            if parameter.key == "augment.strength" and not config.augment.active:
                value = 0.0  # the space may fix ranges that the experiment does not have
            point.update(_express(parameter, value))
        if point and point not in points:
            points.append(point)
    return points


def _express(parameter: Parameter, value: Any) -> dict[str, Primitive]:
    """Finds what would have to be drawn for a value; empty where it cannot be."""
    dimensions = parameter.dimensions()
    if not dimensions:
        return {}
    if parameter.kind == "filters":
        for growth in parameter.growth:
            names = [dimension.name for dimension in dimensions]
            drawn: dict[str, Primitive] = dict(zip(names, (len(value), int(value[0]), growth), strict=True))
            inside = all(dimension.holds(drawn[dimension.name]) for dimension in dimensions)
            if inside and parameter.combine(drawn) == list(value):
                return drawn
        return {}
    dimension = dimensions[0]
    if parameter.key == "model.unfreeze" and value == "none" and dimension.kind == "int":
        value = 0  # the same thing, counted
    candidate = label(value) if parameter.kind == "categorical" else value
    return {dimension.name: candidate} if dimension.holds(candidate) else {}


def _config_value(config: ExperimentConfig, key: str) -> Any:
    value: Any = configuration.to_mapping(config)
    for part in key.split("."):
        value = value[part]
    return value


def label(choice: Any) -> Primitive:
    """Names a choice by a plain value: lists become text such as "512, 512"."""
    if isinstance(choice, (list, tuple)):
        return ", ".join(map(str, choice)) or "none"
    return choice if isinstance(choice, (str, int, float, bool)) else str(choice)
