import base64

import numpy as np
import pandas as pd
import pytest

from poster_ml.errors import RequestError
from poster_ml.serving.requests import image_bytes, image_column
from tests.refusals import refusal

DATA = bytes(range(256)) * 2  # holds every byte value, so both alphabets of base64 matter
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "cell",
    [
        TEXT,
        TEXT.rstrip("="),
        f"  {TEXT}\n",
        "\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)),
        base64.urlsafe_b64encode(DATA).decode(),
        np.str_(TEXT),
        f"data:image/jpeg;base64,{TEXT}",
        f"DATA:image/png;charset=utf-8;BASE64,{TEXT}",
        DATA,
        bytearray(DATA),
        memoryview(DATA),
        np.bytes_(DATA + b"x")[:-1],
    ],
)
def test_every_form_of_an_image_gives_its_bytes(cell):
    assert image_bytes(cell) == DATA


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_base64_that_starts_like_a_path_is_an_image(kind, make_picture):
    data = make_picture(kind=kind.upper())
    assert image_bytes(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "no image in this row"),
        (np.float64("nan"), "no image in this row"),
        ("   ", "the image is empty"),
        (b"", "the image is empty"),
        ("data:image/png;base64,", "the image is empty"),
        ("data:image/png,abc", "a data URI must read data:image/jpeg;base64,..."),
        ("https://example.org/poster.jpg", "a URL is never opened"),
        ("file:///etc/passwd", "a URL is never opened"),
        ("/etc/passwd1", "a path is never opened"),
        ("../../poster.png", "a path is never opened"),
        ("~/poster", "a path is never opened"),
        ("posters/tt0111161.jpg", "a path is never opened"),
        (r"C:\posters\one.jpg", "a path is never opened"),
        ("ab\u00e9d", "the text is not base64"),
        ("A", "the text is not base64"),
        (5, "got a value of type int"),
        ({"b64": TEXT}, "got a value of type dict"),
        ([1, 2, 3], "got a value of type list"),
    ],
)
def test_everything_else_gets_a_reason(cell, reason):
    assert reason in refusal(RequestError, image_bytes, cell)


def test_size_is_checked_before_and_after_decoding():
    assert image_bytes(TEXT, max_bytes=len(DATA)) == DATA
    for cell in (TEXT, DATA, memoryview(DATA), "A" * 10_000):
        with pytest.raises(RequestError, match="MB are accepted"):
            image_bytes(cell, max_bytes=len(DATA) - 1)
    with pytest.raises(
        RequestError, match=r"^the image has 12\.0 MB, at most 10 MB are accepted: send a smaller one$"
    ):
        image_bytes(b"x" * 12_000_000)


def test_a_request_gives_its_cells_with_their_index():
    table = pd.DataFrame({"title": [1, 2], "image": ["a", "b"]}, index=[7, 3])
    pd.testing.assert_series_equal(image_column(table), table["image"])
    assert list(image_column(pd.DataFrame({"image": [["a", "b"]]}, index=[7])).items()) == [
        (0, "a"),
        (1, "b"),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"poster": ["a"]}), "the request must have one column 'image'; its columns: 'poster'"),
        (
            pd.DataFrame([["a", "b"]], columns=["image", "image"]),
            "the request must have one column 'image'; its columns: 'image', 'image'",
        ),
        (
            pd.DataFrame({"image": []}),
            "the request has no rows: send at least one image in the column 'image'",
        ),
    ],
)
def test_requests_that_make_no_sense_say_so(table, message):
    assert refusal(RequestError, image_column, table) == message
