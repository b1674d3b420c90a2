"""One list of image kinds: what is downloaded is found, decoded and scored, whatever its kind and ending."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.commands.predict import walk_posters
from poster_ml.data.fetch import check_poster
from poster_ml.data.image_files import match_images
from poster_ml.data.image_kinds import KINDS, NAMES, SUFFIXES, is_image_name
from poster_ml.data.images import decode_poster
from poster_ml.errors import RequestError

LEFT, RIGHT = (200, 40, 40), (40, 40, 200)


def poster(kind: str, size: tuple[int, int] = (90, 120), left: tuple[int, int, int] = LEFT) -> bytes:
    """A file of two halves, red and blue."""
    image = Image.new("RGB", size, left)
    image.paste(RIGHT, (size[0] // 2, 0, *size))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_decoded_to_its_pixels(kind: str) -> None:
    decoded = decode_poster(poster(kind), 32)
    assert (decoded.format, decoded.width, decoded.height) == (kind, 90, 120)
    for columns, colour in ((slice(0, 12), LEFT), (slice(20, 32), RIGHT)):
        assert np.abs(decoded.pixels[:, columns].astype(int) - colour).max() < 12, kind


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_every_ending_is_matched_and_scored(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"tt1{suffix.upper()}"
    kind = next(kind for kind, suffixes in KINDS.items() if suffix in suffixes)
    file.write_bytes(poster(kind))
    table = pd.DataFrame(
        [("tt1", "", "", "", 1)], columns=["movie_id", "source_id", "link", "image_name", "row"]
    )
    matched, missing = match_images(table, tmp_path)
    assert (matched["image"].tolist(), len(missing)) == ([str(file)], 0)
    assert list(walk_posters([tmp_path])) == [file]
    assert decode_poster(file, 16).format == kind


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_downloaded_gets_an_ending_that_is_read(kind: str) -> None:
    if kind in ("GIF", "BMP"):
        with pytest.raises(RequestError, match="placeholders are, posters are not"):
            check_poster(poster(kind))
    else:
        assert check_poster(poster(kind)) in KINDS[kind]


@pytest.mark.parametrize("shape", [(31, 60), (60, 300)])
def test_what_preparation_refuses_is_not_downloaded(shape: tuple[int, int]) -> None:
    for content in (poster("PNG", shape), poster("JPEG", (90, 120), left=RIGHT)):
        with pytest.raises(RequestError) as refused:
            decode_poster(content, 32)
        with pytest.raises(RequestError, match=f"^{re.escape(str(refused.value))}$"):
            check_poster(content)


def test_hidden_files_and_other_endings_are_no_images() -> None:
    assert [name for name in ("a.jpg", ".a.jpg", "a.txt", "avif", "a.AVIF") if is_image_name(name)] == [
        "a.jpg",
        "a.AVIF",
    ]
    assert len(SUFFIXES) == len(set(SUFFIXES)) == 11
    assert NAMES.upper().replace(" OR", ",").split(", ") == list(KINDS)
