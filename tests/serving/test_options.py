"""The params of a request: what is asked for, and one line for what cannot be."""

import pytest

from poster_ml.errors import RequestError
from poster_ml.serving.options import RequestOptions, params_schema
from tests.refusals import refusal


def test_nothing_is_asked_for_unless_it_is_named():
    assert RequestOptions.read(None, 1) == RequestOptions.read({}, 1) == RequestOptions()


def test_boxes_come_flat_as_mlflow_carries_them_and_null_is_not_asked():
    box, other = (0.0, 0.1, 0.5, 0.9), (0.5, 0.0, 1.0, 1.0)
    assert RequestOptions.read({"what_if": [*box, *other]}, 1).what_if == (box, other)
    assert RequestOptions.read({"explain": None, "neighbours": None}, 1) == RequestOptions()


@pytest.mark.parametrize(
    ("params", "rows", "message"),
    [
        ({"rank": True}, 1, "rank compares 2 to 50 designs, got 1 rows"),
        ({"rank": True}, 51, "rank compares 2 to 50 designs, got 51 rows"),
        ({"neighbours": -1}, 1, "neighbours must be 0 to 100, got -1"),
        ({"neighbours": 101}, 1, "neighbours must be 0 to 100, got 101"),
        (
            {"what_if": [0.1, 0.2, 0.3]},
            1,
            "what_if takes four numbers per box (left, top, right, bottom), got 3",
        ),
        ({"what_if": [0.0, 0.0, 1.0, 1.0] * 21}, 1, "what_if takes at most 20 boxes, got 21"),
        (
            {"what_if": [0.5, 0.0, 0.4, 1.0]},
            1,
            "what_if: a box is left, top, right, bottom as shares of the poster",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(params, rows, message):
    assert refusal(RequestError, RequestOptions.read, params, rows).startswith(message)


def test_the_signature_declares_every_option():
    assert {one.name for one in params_schema().params} == set(RequestOptions.__dataclass_fields__)
