"""What a request may ask for besides the probability: its `params`, checked at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.types import DataType, ParamSchema, ParamSpec

from poster_ml.errors import RequestError
from poster_ml.explain.what_if import ShareBox, check_box

MOST_NEIGHBOURS = 100
MOST_BOXES = 20
MOST_DESIGNS = 50


@dataclass(frozen=True)
class RequestOptions:
    """The params of one request; everything is off unless asked for.

    explain: a class activation map over each poster. evidence: how many posters scored like it were Fresh.
    rank: the rows are designs, to be put in order. neighbours: how many of the most alike training posters,
    0 to 100. what_if: boxes to hide, (left, top, right, bottom) in shares of the poster.
    """

    explain: bool = False
    evidence: bool = False
    rank: bool = False
    neighbours: int = 0
    what_if: tuple[ShareBox, ...] = ()

    @classmethod
    def read(cls, params: Mapping[str, Any] | None, rows: int) -> RequestOptions:
        """Reads the params of a request of so many rows; MLflow has checked their names and types.

        Raises: RequestError saying what was received and what is allowed.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        options = cls(**given | {"what_if": _boxes(given.get("what_if", []))})
        if not 0 <= options.neighbours <= MOST_NEIGHBOURS:
            raise RequestError(f"neighbours must be 0 to {MOST_NEIGHBOURS}, got {options.neighbours!r}")
        if options.rank and not 2 <= rows <= MOST_DESIGNS:
            raise RequestError(f"rank compares 2 to {MOST_DESIGNS} designs, got {rows} rows")
        return options


def params_schema() -> ParamSchema:
    """Returns the params as the model's signature declares them.

    MLflow knows lists of numbers, not lists of lists: `what_if` is flat there, four numbers per box.
    """
    return ParamSchema(
        [
            *(ParamSpec(name, DataType.boolean, default=False) for name in ("explain", "evidence", "rank")),
            ParamSpec("neighbours", DataType.long, default=0),
            ParamSpec("what_if", DataType.double, default=[], shape=(-1,)),
        ]
    )


def _boxes(edges: Sequence[float]) -> tuple[ShareBox, ...]:
    """Returns boxes from numbers, four per box."""
    if len(edges) % 4:
        raise RequestError(f"what_if takes four numbers per box (left, top, right, bottom), got {len(edges)}")
    boxes = [edges[start : start + 4] for start in range(0, len(edges), 4)]
    if len(boxes) > MOST_BOXES:
        raise RequestError(f"what_if takes at most {MOST_BOXES} boxes, got {len(boxes)}")
    try:
        return tuple(check_box(box) for box in boxes)
    except ValueError as error:
        raise RequestError(f"what_if: {error}") from None
