"""One cell of a request to the bytes of one image file; whatever else comes gets a reason.

The service opens nothing: a path or a URL in a request is text, and refused as such.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.errors import RequestError

MAX_BYTES = 10_000_000  # of one image file, decoded from base64
MAX_PIXELS = 25_000_000  # width * height; 75 MB as RGB

_URL = re.compile(r"^[a-z][a-z0-9+.\-]*://", re.IGNORECASE)
_PATH = re.compile(r"^(/|\./|\.\./|~|[a-z]:[\\/])|\\|\.[a-z0-9]{2,5}$", re.IGNORECASE)
_LONGEST_PATH = 200  # the smallest JPEG that shows anything has more base64 characters than this
_WHITESPACE = re.compile(r"\s+")
_TO_STANDARD = str.maketrans("-_", "+/")  # the URL-safe alphabet


def image_bytes(cell: Any, max_bytes: int = MAX_BYTES) -> bytes:
    """Returns the image file that one cell carries.

    Args:
        cell: base64 text (standard or URL-safe alphabet, padding optional), a data URI, or the raw bytes.
        max_bytes: the largest file taken, at least 1; longer text is refused before it is decoded.

    Raises: RequestError with the reason, for everything else.
    """
    if isinstance(cell, str):
        return _from_text(cell.strip(), max_bytes)
    if isinstance(cell, (bytes, bytearray, memoryview)):
        size = cell.nbytes if isinstance(cell, memoryview) else len(cell)
        _check_size(size, max_bytes)
        if size == 0:
            raise RequestError("the image is empty: send the content of a JPEG, PNG or WebP file")
        return bytes(cell)
    if cell is None or (isinstance(cell, (float, np.floating)) and np.isnan(cell)):
        raise RequestError(
            "no image in this row: send the content of a JPEG, PNG or WebP file as base64 text"
        )
    raise RequestError(
        f"expected base64 text, a data URI or bytes, got a value of type {type(cell).__name__}: "
        "send the content of a JPEG, PNG or WebP file as base64 text"
    )


def image_column(model_input: Any, column: str = "image") -> pd.Series:
    """Returns the cells of a request, in order, from every shape that a scoring call can have.

    Args:
        model_input: a DataFrame or a mapping with the column, a list (of cells or of mappings), a Series, an
            array, or one cell. Other columns are ignored.
        column: the name of the column.

    Returns: a Series of objects with the index of the table asked about, so that pandas aligns the answer
        with it; without a table 0, 1, 2, ...
    Raises: RequestError where the request as a whole makes no sense: no such column, two of them, no rows.
    """
    value = model_input
    if isinstance(value, (pd.DataFrame, dict)):
        value = _of_column(value, column)
    elif isinstance(value, (list, tuple, pd.Series, pd.Index)):
        rows = [_of_column(row, column) if isinstance(row, dict) else row for row in value]
        value = pd.Series(rows, value.index if isinstance(value, pd.Series) else None, dtype=object)
    elif not isinstance(value, (str, bytes, bytearray, memoryview, np.ndarray)):
        raise RequestError(
            f"expected a table with the column {column!r}, got a value of type {type(value).__name__}"
        )
    if (
        isinstance(value, pd.Series)
        and len(value) == 1
        and isinstance(value.iloc[0], (list, tuple, np.ndarray))
    ):
        value = value.iloc[0]  # {"image": [a, b]} reaches a model as one row with a list in it
    if not isinstance(value, pd.Series):
        value = list(np.ravel(value)) if isinstance(value, np.ndarray) else value
        value = pd.Series(value if isinstance(value, (list, tuple)) else [value], dtype=object)
    if value.empty:
        raise RequestError(f"the request has no rows: send at least one image in the column {column!r}")
    return value


def fact_cells(model_input: Any, rows: int) -> dict[str, list[Any]]:
    """Returns the cells of the optional columns `year` and `genres`, None in each row without one.

    Args:
        model_input: as for `image_column`.
        rows: how many cells that has.
    """
    return {name: _optional(model_input, name, rows) for name in ("year", "genres")}


def _optional(model_input: Any, column: str, rows: int) -> list[Any]:
    found: Any = ()
    if isinstance(model_input, list) and model_input and isinstance(model_input[0], dict):
        found = [row.get(column) if isinstance(row, dict) else None for row in model_input]
    elif isinstance(model_input, (pd.DataFrame, dict)) and column in model_input:
        found = image_column(model_input, column).tolist()
    return found if len(found) == rows else [None] * rows


def _of_column(table: pd.DataFrame | dict[Any, Any], column: str) -> Any:
    """Returns what stands in the one column of that name. Raises: RequestError where there is not one."""
    names = [str(name) for name in table]
    if names.count(column) > 1:
        raise RequestError(f"the request has {names.count(column)} columns named {column!r}: send one")
    if column not in names:
        got = ", ".join(repr(name[:40]) for name in names[:10]) or "none"
        raise RequestError(f"the request has no column {column!r}; its columns: {got}")
    return table[column]


def _from_text(text: str, max_bytes: int) -> bytes:
    if not text:
        raise RequestError("the image is empty: send the content of a JPEG, PNG or WebP file as base64 text")
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise RequestError("a data URI must read data:image/jpeg;base64,... ; this one has no ';base64,'")
    elif _URL.match(text):
        raise RequestError("a URL is never opened: send the content of the image file as base64 text")
    elif len(text) <= _LONGEST_PATH and _PATH.search(text):
        raise RequestError("a path is never opened: send the content of the image file as base64 text")
    _check_size(len(text) * 3 // 4 - 2, max_bytes)
    compact = _WHITESPACE.sub("", text).rstrip("=").translate(_TO_STANDARD)
    try:
        decoded = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            "the text is not base64 (A-Z, a-z, 0-9, + and /): "
            "send the content of the image file as base64 text"
        ) from error
    if not decoded:
        raise RequestError("the image is empty: send the content of a JPEG, PNG or WebP file as base64 text")
    _check_size(len(decoded), max_bytes)
    return decoded


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise RequestError(
            f"the image has {size / 1e6:.1f} MB, at most {max_bytes / 1e6:g} MB are taken: send a smaller one"
        )
