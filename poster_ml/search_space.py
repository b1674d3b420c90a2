"""What a search may try: the schema of `experiments/tune/`, checked against the schema of experiments."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from poster_ml.config import AtLeast0, AtLeast1, ExperimentConfig, Width, find_yaml
from poster_ml.errors import ConfigError
from poster_ml.validation import RULES, Fault, Number, adapter, assign, check, read_yaml, valid


@dataclass(frozen=True, config=RULES)
class Fidelity:
    """Cheap trials, and the rule by which some are promoted to full training.

    The `promote` best finished trials are trained again on all posters with the experiment's own number of
    epochs and `seeds` seeds each; only these are compared with one another and with the default settings.
    """

    max_samples: AtLeast0 = 0  # posters a trial sees; 0: all
    epochs: AtLeast0 = 0  # epochs of a trial; 0: the experiment's own
    promote: AtLeast1 = 3
    seeds: AtLeast1 = 3


Role = Literal["scientific", "nuisance"]  # what the search is about, and what must be tuned along


@dataclass(frozen=True, config=RULES)
class Fixed:
    """A key held at one value, and said so."""

    role: Literal["fixed"]
    value: Any


@dataclass(frozen=True, config=RULES)
class Range:
    """A number between two bounds, both inclusive; whole for the types that say so."""

    role: Role
    type: Literal["float", "log", "int", "log_int"]
    low: Number
    high: Number
    step: Number = 0.0  # of "float" and "int"; 0: any number, or any whole one

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return self.type in {"int", "log_int"}

    @property
    def log(self) -> bool:
        """Whether numbers are drawn evenly on a log scale."""
        return self.type in {"log", "log_int"}

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Range:
        if self.whole and not all(number.is_integer() for number in (self.low, self.high, self.step)):
            raise ValueError(f"a range of type {self.type} needs whole numbers as low, high and step")
        if not self.low < self.high:
            raise ValueError(f"low must be below high, received {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range must begin above 0, received {self.low}")
        if self.step < 0 or (self.log and self.step):
            raise ValueError(f"step must be above 0, and left out on a log scale, received {self.step}")
        return self


@dataclass(frozen=True, config=RULES)
class Categorical:
    """One of several values; a list such as `[512, 512]` is one value."""

    role: Role
    type: Literal["categorical"]
    choices: tuple[Any, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _all_differ(self) -> Categorical:
        if len(set(map(label, self.choices))) < len(self.choices):
            raise ValueError(f"choices must differ, received {list(self.choices)}")
        return self


@dataclass(frozen=True, config=RULES)
class Filters:
    """The convolutions of family `cnn`: how many blocks, the first one's filters, and how these grow.

    `blocks` and `first` (searched on a log scale) are bounds, both inclusive; each block has
    `growth` times the filters of the block before.
    """

    role: Role
    type: Literal["filters"]
    blocks: tuple[AtLeast1, ...] = Field(min_length=2, max_length=2)
    first: tuple[Width, ...] = Field(min_length=2, max_length=2)
    growth: tuple[Annotated[Number, Field(ge=1)], ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _bounds_rise(self) -> Filters:
        for name, (low, high) in {"blocks": self.blocks, "first": self.first}.items():
            if not low < high:
                raise ValueError(f"{name} must be two rising numbers, received {[low, high]}")
        return self


Parameter = Annotated[
    Fixed | Annotated[Range | Categorical | Filters, Field(discriminator="type")], Field(discriminator="role")
]


@dataclass(frozen=True, config=RULES)
class SearchSpace:
    """A search space: what is searched of a variant, by dotted keys of its experiment, and how cheaply.

    Roles are the words of the "Deep Learning Tuning Playbook" (Godbole et al. 2023).
    """

    variant: str
    parameters: dict[str, Parameter] = Field(min_length=1)
    fidelity: Fidelity = Fidelity()

    @model_validator(mode="after")
    def _something_is_searched(self) -> SearchSpace:
        if all(parameter.role == "fixed" for parameter in self.parameters.values()):
            raise ValueError("every parameter is fixed: give at least one the role scientific or nuisance")
        return self

    def fingerprint(self) -> str:
        """Returns 12 hex digits that change with any range, choice, fixed value or a trial's fidelity."""
        values = adapter(SearchSpace).dump_python(self, mode="json")
        trial = {name: values["fidelity"][name] for name in ("max_samples", "epochs")}
        text = json.dumps([values["parameters"], trial], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def label(choice: Any) -> str | int | float | bool:
    """Names a choice by a plain value: lists become text such as "512, 512"."""
    if isinstance(choice, (list, tuple)):
        return ", ".join(map(str, choice)) or "none"
    return choice if isinstance(choice, (str, int, float, bool)) else str(choice)


def space_path(variant: str) -> Path:
    """Finds the search space of a variant. Raises: ConfigError naming the variants that have one."""
    return find_yaml("tune", variant, "no search space for model")


def load_space(path: Path) -> SearchSpace:
    """Reads a search space.

    Raises: ConfigError with every fault of the file at once, also where a value fits no experiment.
    """
    values = read_yaml(path)
    if not values:
        raise ConfigError([f"{path} is empty: write a search space, or get the file again"])
    return parse_space(values, str(path))


def parse_space(values: Any, source: str) -> SearchSpace:
    """Builds a search space from plain values; errors as for `load_space`, with `source` before them."""
    space, faults = check(SearchSpace, values)
    wrong = {fault.key for fault in faults}
    entries = values.get("parameters") if isinstance(values, dict) else None
    for key, entry in entries.items() if isinstance(entries, dict) else ():
        place = f"parameters.{key}"
        fields = entry.items() if isinstance(entry, dict) else ()
        right = {name: value for name, value in fields if f"{place}.{name}" not in wrong}
        for value in _settings(right):
            experiment: dict[str, Any] = {}  # this key alone, whatever the other settings are
            found = assign(experiment, key, value) or check(ExperimentConfig, experiment)[1]
            faults += [Fault(place, fault.text) for fault in found if f"{fault.key}.".startswith(f"{key}.")]
    return valid(space, list(dict.fromkeys(faults)), source)


def _settings(entry: dict[str, Any]) -> list[Any]:
    """Returns the values that an entry of a search space gives its key."""
    values = [entry[name] for name in ("value", "low", "high") if name in entry]
    if entry.get("type") in {"float", "log"}:  # reaches between whole numbers, so its bounds are none
        values = [float(value) for value in values]
    return values + list(entry.get("choices", ())) + ([entry["first"]] if "first" in entry else [])
