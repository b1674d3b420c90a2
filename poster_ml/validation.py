"""YAML files and pydantic schemas: a checked object, or every fault in words with its dotted key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError

from poster_ml.errors import ConfigError, nearest

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
        raise ConfigError([f"{path} is not YAML: {' '.join(str(error).split())}"]) from error
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
        path, value = _locate(detail, values)
        key = ".".join(map(str, path))
        if detail["type"] in {"unexpected_keyword_argument", "invalid_key"}:
            texts[key] = f"unknown key{_near_key(path, kind)}"
        elif detail["type"] == "value_error":  # from a rule of the schema
            texts[key] = str(detail["ctx"]["error"])
        else:  # a value that fits no part of a union is told once for each part
            parts = allowed.setdefault(key, [])
            parts += [part for part in [_allowed(detail)] if part not in parts]
            received = "nothing" if value is _MISSING else repr(value)
            texts[key] = f"received {received}, allowed: {' or '.join(parts)}{_near_value(value, detail)}"
    return None, [Fault(key, text) for key, text in texts.items()]


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Returns what validates and writes a schema's objects."""
    return TypeAdapter(kind)


_MISSING = object()


def _locate(detail: Any, values: Any) -> tuple[list[Any], Any]:
    """Follows an error through the values that were given: the path of keys, and what stands at its end.

    What pydantic adds to the path, the part of a union or the position in a list, is no key.
    """
    path, value = list[Any](), values
    names = [*detail["loc"]]
    if detail["type"].startswith("union_tag"):
        names.append(detail["ctx"]["discriminator"].strip("'"))
    for name in names:
        if isinstance(value, Mapping) and name in value:
            path, value = [*path, name], value[name]
    if detail["type"] in {"missing", "union_tag_not_found"}:
        return [*path, names[-1]], _MISSING
    return path, value


def _allowed(detail: Any) -> str:
    context = detail.get("ctx", {})
    words = _ALLOWED.get(detail["type"]) or context.get("expected_tags")
    return words.format(**context) if words else detail["msg"].removeprefix("Input should be ")


def _near_value(value: Any, detail: Any) -> str:
    context = detail.get("ctx", {})
    expected = re.findall("'([^']*)'", context.get("expected") or context.get("expected_tags") or "")
    return nearest(value, expected) if isinstance(value, str) else ""


def _near_key(path: list[Any], kind: Any) -> str:
    """Points at the dotted key that was probably meant: of the same section first, then of any."""
    *sections, last = map(str, path)
    schema = adapter(kind).json_schema()
    fields = schema["properties"]
    place = {field["$ref"]: f"{name}." for name, field in fields.items() if "$ref" in field}
    known = [*fields]
    for title, section in schema["$defs"].items():
        known += [place.get(f"#/$defs/{title}", "") + name for name in section["properties"]]
    within = [name for name in known if name.rpartition(".")[0] == ".".join(sections)]
    for names in (within, known):
        full = {name.rpartition(".")[2]: name for name in names}
        close = difflib.get_close_matches(last, full, n=1)
        if close and full[close[0]] != last:
            return f" (did you mean {full[close[0]]!r}?)"
    return ""
