"""Values from a file or a command line as the type they should have, or what is wrong with them in words."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

from poster_ml.errors import nearest


def convert(value: Any, hint: Any) -> Any:
    """Returns a value as the type that a field is declared with.

    Args:
        value: plain, as YAML gives it.
        hint: str, int, float, bool, tuple[one of them, ...], or a union of these.

    Returns: the value, None where it does not fit. 1, 1.0 and "1e-4" are numbers; True is none.
    """
    if isinstance(hint, types.UnionType):
        fits = (convert(value, inner) for inner in typing.get_args(hint) if inner is not str)
        return next((fit for fit in fits if fit is not None), convert(value, str))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        items = value if isinstance(value, (list, tuple)) else None
        converted = None if items is None else tuple(convert(item, inner) for item in items)
        return None if converted is None or None in converted else converted
    if hint is float:
        return _number(value)
    if hint is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    return value if isinstance(value, hint) else None


def _number(value: Any) -> float | None:
    """Accepts 1, 1.0 and "1e-4": YAML 1.1 reads an exponent without a dot as text."""
    if isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, (int, float, str)) else None
    except ValueError:
        return None


def fault_of(converted: Any, value: Any, hint: Any, metadata: Any) -> str:
    """Says in words what is wrong with a value.

    Args:
        converted: from `convert`.
        value: as it came.
        hint: the type it should have.
        metadata: of the field: low, high (both inclusive), choices, recorded.

    Returns: for example "must be at least 0, got -1"; an empty text where nothing is wrong.
    """
    if converted is None:
        return f"must be {_type_name(hint)}, got {value!r}"
    items = converted if isinstance(converted, tuple) else (converted,)
    choices = metadata.get("choices", ())
    wrong = [item for item in items if item not in (*choices, *metadata.get("recorded", ()))]
    if choices and wrong:
        return f"must be one of {', '.join(choices)}, got {value!r}{nearest(str(wrong[0]), choices)}"
    low, high = metadata.get("low"), metadata.get("high")
    for item in items:
        if not isinstance(item, (int, float)) or isinstance(item, bool):
            continue
        # Written so that NaN and infinity fail too.
        if not ((low is None or item >= low) and (high is None or item <= high)) or not math.isfinite(item):
            return f"must be {_range(low, high)}, got {value!r}"
    return ""


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"between {low:g} and {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_type_name(inner) for inner in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"a list of {_type_name(typing.get_args(hint)[0]).removeprefix('a ')}s"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names.get(hint, str(hint))
