"""Reading `experiments/tune/<variant>.yaml`: every fault at once, ranges as the configuration allows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from poster_ml import config as configuration
from poster_ml.config import ExperimentConfig
from poster_ml.errors import ConfigError, nearest
from poster_ml.tuning.space import Fidelity, Parameter, SearchSpace, label

ROLES = ("scientific", "nuisance", "fixed")
KINDS = ("float", "log", "int", "log_int", "categorical", "filters")
_FIELDS = {
    "float": {"low", "high", "step"},
    "log": {"low", "high"},
    "int": {"low", "high", "step"},
    "log_int": {"low", "high"},
    "categorical": {"choices"},
    "filters": {"blocks", "first", "growth"},
}


def space_path(variant: str) -> Path:
    """Finds the search space of a variant.

    Raises: ConfigError naming the variants that have one.
    """
    folder = configuration.experiments_folder() / "tune"
    path = folder / f"{variant}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        hint = nearest(variant, names)
        known = ", ".join(names)
        fault = f"no search space for model {variant!r}{hint}: choose one of {known}, or write {path}"
        raise ConfigError([fault])
    return path


def load_space(path: Path) -> SearchSpace:
    """Reads a search space.

    Raises: ConfigError with every fault of the file at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
        loaded = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError([f"cannot read {path}: {error.strerror}; give an existing YAML file"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} is not YAML: {' '.join(str(error).split())}"]) from error
    if not text.strip():
        raise ConfigError([f"{path} is empty: write a search space, or get the file again"])
    return parse_space(loaded, str(path))


def parse_space(loaded: Any, source: str) -> SearchSpace:
    """Builds a search space from plain values; errors as for `load_space`."""
    faults: list[str] = []
    if not isinstance(loaded, dict):
        raise ConfigError([f"expected keys and values at the top level, got {loaded!r}"], source)
    faults.extend(_unknown(loaded, {"variant", "fidelity", "parameters"}, ""))
    entries = loaded.get("parameters")
    if not isinstance(entries, dict) or not entries:
        faults.append("parameters must name at least one configuration key")
        entries = {}
    parameters = [_parameter(str(key), entry, faults) for key, entry in entries.items()]
    kept = tuple(parameter for parameter in parameters if parameter is not None)
    if entries and len(kept) == len(entries) and all(parameter.role == "fixed" for parameter in kept):
        faults.append("every parameter is fixed: give at least one the role scientific or nuisance")
    fidelity = _fidelity(loaded.get("fidelity", {}), faults)
    variant = loaded.get("variant")
    if not isinstance(variant, str):
        faults.append(f"variant must be a text, got {variant!r}")
    if faults:
        raise ConfigError(faults, source)
    return SearchSpace(str(variant), kept, fidelity, source)


def _fidelity(entry: Any, faults: list[str]) -> Fidelity:
    if not isinstance(entry, dict):
        faults.append(f"fidelity must be a section with keys, got {entry!r}")
        return Fidelity()
    lows = {"limit": 0, "epochs": 0, "promote": 1, "seeds": 1}
    faults.extend(_unknown(entry, set(lows), "fidelity."))
    values: dict[str, int] = {}
    for key, low in lows.items():
        value = entry.get(key, getattr(Fidelity(), key))
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            faults.append(f"fidelity.{key} must be a whole number, at least {low}, got {value!r}")
        else:
            values[key] = value
    return Fidelity(**values)


def _parameter(key: str, entry: Any, faults: list[str]) -> Parameter | None:
    """Reads one parameter; what does not fit goes to `faults`."""
    before = len(faults)
    if not isinstance(entry, dict):
        faults.append(f"{key} must be a section with role and type, got {entry!r}")
        return None
    role = entry.get("role")
    if role not in ROLES:
        faults.append(
            f"{key}.role must be one of {', '.join(ROLES)}, got {role!r}{nearest(str(role), ROLES)}"
        )
        return None
    if role == "fixed":
        faults.extend(_unknown(entry, {"role", "value"}, f"{key}."))
        if "value" not in entry:
            faults.append(f"{key} is fixed and needs a value")
        else:
            _check_config(key, entry["value"], faults)
        return None if len(faults) > before else Parameter(key, role, value=entry["value"])
    kind = entry.get("type")
    if kind not in KINDS:
        faults.append(
            f"{key}.type must be one of {', '.join(KINDS)}, got {kind!r}{nearest(str(kind), KINDS)}"
        )
        return None
    faults.extend(_unknown(entry, {"role", "type"} | _FIELDS[kind], f"{key}."))
    reader = {"categorical": _read_choices, "filters": _read_filters}.get(kind, _read_range)
    fields = reader(key, kind, entry, faults)
    return None if len(faults) > before else Parameter(key, role, kind, **fields)


def _read_range(key: str, kind: str, entry: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    whole = kind in {"int", "log_int"}
    numbers = {name: _number(entry.get(name), whole) for name in ("low", "high")}
    for name, number in numbers.items():
        if number is None:
            wanted = "a whole number" if whole else "a number"
            faults.append(f"{key}.{name} must be {wanted}, got {entry.get(name)!r}")
        else:
            _check_config(key, number, faults)
    low, high = numbers["low"], numbers["high"]
    if low is not None and high is not None and not low < high:
        faults.append(f"{key}: low must be below high, got {low} and {high}")
    if kind.startswith("log") and low is not None and low <= 0:
        faults.append(f"{key}: a log range must begin above 0, got {low}")
    step = _number(entry.get("step", 1 if whole else 0), whole)
    if step is None or step < 0 or (whole and step < 1):
        faults.append(f"{key}.step must be above 0, got {entry.get('step')!r}")
    return {"low": low, "high": high, "step": step}


def _read_choices(key: str, kind: str, entry: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    choices = entry.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        faults.append(f"{key}.choices must be a list of at least two, got {choices!r}")
        return {}
    if len({label(choice) for choice in choices}) < len(choices):
        faults.append(f"{key}.choices has a repeat: {choices!r}")
    for choice in choices:
        _check_config(key, choice, faults)
    return {"choices": tuple(tuple(choice) if isinstance(choice, list) else choice for choice in choices)}


def _read_filters(key: str, kind: str, entry: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in ("blocks", "first"):
        pair = entry.get(name)
        numbers = [_number(item, whole=True) for item in pair] if isinstance(pair, list) else []
        if len(numbers) != 2 or None in numbers or not 1 <= numbers[0] < numbers[1]:  # type: ignore[operator]
            faults.append(f"{key}.{name} must be two rising whole numbers from 1 on, got {pair!r}")
        fields[name] = tuple(numbers)
    growth = entry.get("growth")
    factors = [_number(item, whole=False) for item in growth] if isinstance(growth, list) else []
    if len(factors) < 2 or any(factor is None or factor < 1 for factor in factors):
        faults.append(f"{key}.growth must be a list of at least two factors, each at least 1, got {growth!r}")
    return fields | {"growth": tuple(factors)}


def _check_config(key: str, value: Any, faults: list[str]) -> None:
    """Asks the configuration whether the key exists and takes the value; each fault is said once."""
    try:
        configuration.replace(ExperimentConfig(), **{key: value})
    except ConfigError as error:
        faults.extend(fault for fault in error.faults if fault not in faults)


def _number(value: Any, whole: bool) -> float | None:
    """Accepts 1, 1.0 and "1e-4" (YAML 1.1 reads an exponent without a dot as text)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if whole:
        return value if isinstance(value, int) else None
    try:
        return float(value)
    except ValueError:
        return None


def _unknown(entry: Mapping[str, Any], known: set[str], prefix: str) -> list[str]:
    return [
        f"{prefix}{key} is no known key{nearest(str(key), sorted(known))}: use {', '.join(sorted(known))}"
        for key in entry
        if key not in known
    ]
