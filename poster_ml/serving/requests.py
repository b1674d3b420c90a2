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


def image_column(table: pd.DataFrame, column: str = "image") -> pd.Series:
    """Returns the cells of a request, in order.

    Args:
        table: what MLflow makes of every form of a request, after its check against the signature.
        column: the name of the column. Others are ignored.

    Returns: a Series of objects with the index of the table, so that pandas aligns the answer with it;
        0, 1, 2, ... where the table is one row with a list in it, as `{"image": [a, b]}` reaches a model.
    Raises: RequestError where there are not rows, or not one such column.
    """
    names = [str(name) for name in table]
    if names.count(column) != 1:
        got = ", ".join(repr(name[:40]) for name in names[:10]) or "none"
        raise RequestError(f"the request must have one column {column!r}; its columns: {got}")
    cells = table[column]
    if len(cells) == 1 and isinstance(cells.iloc[0], (list, tuple, np.ndarray)):
        cells = pd.Series(list(cells.iloc[0]), dtype=object)
    if cells.empty:
        raise RequestError(f"the request has no rows: send at least one image in the column {column!r}")
    return cells


def fact_cells(table: pd.DataFrame, rows: int) -> dict[str, list[Any]]:
    """Returns the cells of the optional columns `year` and `genres`, None in each row without one.

    Args:
        table: as for `image_column`.
        rows: how many cells that has.
    """
    found = {name: image_column(table, name).tolist() if name in table else [] for name in ("year", "genres")}
    return {name: cells if len(cells) == rows else [None] * rows for name, cells in found.items()}


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
            f"the image has {size / 1e6:.1f} MB, at most {max_bytes / 1e6:g} MB are accepted: "
            "send a smaller one"
        )
