from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poster_ml.explain.sheets import short_title, write_sheet


def sheet(path: Path, count: int, **changes: object) -> np.ndarray:
    images = np.full((count, 30, 20, 3), 128, np.uint8)
    maps = np.ones((count, 30, 20)) * np.where(np.arange(count) % 2 == 0, 1, -1)[:, None, None]
    given = {
        "titles": ["A title"] * count,
        "labels": [1] * count,
        "probabilities": [0.75] * count,
        "heading": "Surest",
    }
    written = write_sheet(path, images, maps, **{**given, **changes})  # type: ignore[arg-type]
    assert written == path
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def warm(picture: np.ndarray) -> int:
    return int(((picture[..., 0] - picture[..., 2]) > 120).sum())


def cold(picture: np.ndarray) -> int:
    return int(((picture[..., 2] - picture[..., 0]) > 80).sum())


def test_first_poster_is_warm_and_second_is_cold(tmp_path: Path) -> None:
    picture = sheet(tmp_path / "new" / "sheet.png", 2)[150:]  # below the legend
    middle = picture.shape[1] // 2
    assert warm(picture[:, :middle]) > 50 * (warm(picture[:, middle:]) + 1) / 10
    assert cold(picture[:, middle:]) > 10 * (cold(picture[:, :middle]) + 1)


def test_rows_grow_with_the_posters_and_none_is_said(tmp_path: Path) -> None:
    heights = [sheet(tmp_path / f"{count}.png", count).shape[0] for count in (0, 1, 2, 3, 8)]
    assert heights[1] == heights[2] < heights[3] < heights[4]
    assert heights[0] < heights[1]


def test_odd_titles_and_unknown_labels_are_drawn(tmp_path: Path) -> None:
    titles = ["七人の侍", None, float("nan"), "$x$ and $\\frac{1}$", "كفرناحوم", "", "long " * 60, "x" * 400]
    sheet(tmp_path / "odd.png", 8, titles=titles, labels=[None, -1, 0, 1, 0, 1, 0, 1], heading="$5 & more")


def test_titles_are_one_short_line() -> None:
    assert short_title(None) == short_title(float("nan")) == short_title("  ") == "(no title)"
    assert short_title(" Two\nlines ") == "Two lines"
    long = "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb"
    assert short_title(long) == "Dr. Strangelove or: How I Learned to Stop Worrying …"
    assert short_title("x" * 90) == "x" * 51 + "…"


def test_lengths_that_differ_are_echoed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 2 images, 2 maps, 1 titles, 2 labels, 2 probabilities"):
        sheet(tmp_path / "x.png", 2, titles=["one"])
