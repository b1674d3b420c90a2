"""YAML files and pydantic schemas: a checked object, or every fault in words with its dotted key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError

from poster_ml.errors import ConfigError, nearest, one_line

Checked = TypeVar("Checked")

# Of every schema: a key that it does not name is a fault, and so are NaN and infinity.
RULES = ConfigDict(extra="forbid", allow_inf_nan=False)

_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def _read_exponent(value: Any) -> Any:
    """YAML 1.1 reads an exponent without a dot, `1e-4`, as text."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


# True is no number and "8" is none; a whole number may stand for any number.
Switch = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict(), BeforeValidator(_read_exponent)]

# Where the user's words differ from pydantic's.
_ALLOWED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "missing": "a value",
    "union_tag_not_found": "a value",
    "too_short": "a length of at least {min_length}",
    "too_long": "a length of at most {max_length}",
    "dict_type": "a section with keys",
    "dataclass_type": "a section with keys",
    "model_attributes_type": "a section with keys",
}


@dataclass(frozen=True)
class Fault:
    """What is wrong at one dotted key; the key is empty for the whole."""

    key: str
    text: str

    def __str__(self) -> str:
        """Returns both on one line."""
        return f"{self.key}: {self.text}" if self.key else self.text


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes the last of two equal keys: here they are a fault."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
        if twice:
            raise yaml.MarkedYAMLError(
                problem=f"received twice: {', '.join(twice)}", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)


def parse_value(text: str) -> Any:
    """Reads YAML as a plain value; what is none stays text: "2020-13-45" looks like a date."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a file with keys and values; an empty one has none.

    Raises: ConfigError where the file cannot be read, is not YAML or holds something else.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError([f"cannot read {path}: {error.strerror}; give an existing YAML file"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([f"{path} is not YAML: {one_line(error, 1000)}"]) from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError([f"{path}: received a {type(values).__name__}, allowed: keys and values"])
    return values or {}


def check(kind: Callable[..., Checked], values: Any) -> tuple[Checked | None, list[Fault]]:
    """Builds a schema's object from plain values.

    Args:
        kind: a pydantic dataclass.
        values: as YAML gives them.

    Returns: the object and no faults, or None and every fault, one per key.
    """
    try:
        return adapter(kind).validate_python(values), []
    except ValidationError as error:
        details = error.errors()
    texts: dict[str, str] = {}
    allowed: dict[str, list[str]] = {}
    for detail in details:
        path, received = _locate(detail, values)
        key = ".".join(map(str, path))
        if detail["type"] in {"unexpected_keyword_argument", "invalid_key"}:
            texts[key] = f"unknown key{_near_key(str(path[-1]), kind)}"
        elif detail["type"] == "value_error":  # from a rule of the schema
            texts[key] = str(detail["ctx"]["error"])
        else:  # a value that fits no part of a union is told once for each part
            part, near = _allowed(detail, received)
            parts = allowed.setdefault(key, [])
            parts += [part] if part not in parts else []
            texts[key] = f"received {received}, allowed: {' or '.join(parts)}{near}"
    return None, [Fault(key, text) for key, text in texts.items()]


def assign(values: dict[str, Any], key: str, value: Any) -> list[Fault]:
    """Sets a dotted key in nested values; returns why it cannot be, or no fault."""
    *sections, last = key.split(".")
    node = values
    for section in sections:
        inner = node.setdefault(section, {})
        if not isinstance(inner, dict):
            return [Fault(key, f"{section!r} is a value, not a section")]
        node = inner
    node[last] = value
    return []


def valid(built: Checked | None, faults: Sequence[Fault | str], source: str = "") -> Checked:
    """Returns what `check` built. Raises: ConfigError where there are faults, `source` before them."""
    if built is None or faults:
        raise ConfigError([str(fault) for fault in faults], source)
    return built


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Returns what validates and writes a schema's objects."""
    return TypeAdapter(kind)


def _locate(detail: Any, values: Any) -> tuple[list[Any], str]:
    """Follows an error through the values that were given: the path of keys, and what stands at its end.

    What pydantic adds to the path, the part of a union or the position in a list, is not a key.
    """
    path, value = list[Any](), values
    names = [*detail["loc"]]
    if detail["type"].startswith("union_tag"):
        names.append(detail["ctx"]["discriminator"].strip("'"))
    for name in names:
        if isinstance(value, Mapping) and name in value:
            path, value = [*path, name], value[name]
    if detail["type"] in {"missing", "union_tag_not_found"}:
        return [*path, names[-1]], "nothing"
    return path, repr(value)


def _allowed(detail: Any, received: str) -> tuple[str, str]:
    """What would have been right, in words, and the nearest of the words that may stand there."""
    context = detail.get("ctx", {})
    tags = context.get("expected_tags", "")
    words = _ALLOWED.get(detail["type"], tags).format(**context)
    expected = re.findall("'([^']*)'", context.get("expected", tags))
    return words or detail["msg"].removeprefix("Input should be "), nearest(received.strip("'"), expected)


def _near_key(name: str, kind: Any) -> str:
    """Points at the dotted key that was probably meant by the last part of one."""
    schema = adapter(kind).json_schema()
    fields = schema["properties"]
    place = {field["$ref"]: f"{section}." for section, field in fields.items() if "$ref" in field}
    known = {key: key for key in fields}
    for title, section in schema["$defs"].items():
        known |= {key: place.get(f"#/$defs/{title}", "") + key for key in section["properties"]}
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {known[close[0]]!r}?)" if close and known[close[0]] != name else ""
