from pathlib import Path

import numpy as np
from PIL import Image

from poster_ml.explain.sheets import overlay, poster_caption, write_sheet


def test_overlay_shows_the_poster_in_grey_where_the_map_is_zero():
    image = np.zeros((3, 2, 3), np.uint8)
    image[0] = (255, 0, 0)
    image[1] = 255
    shown = overlay(image, np.zeros((3, 2), np.float32)).astype(int)
    assert (np.ptp(shown, axis=-1) == 0).all()
    assert shown[1, 0, 0] > shown[0, 0, 0] > shown[2, 0, 0]
    marked = overlay(image, np.array([[0, 0], [1, -1], [0, 0]], np.float32)).astype(int)
    assert marked[1, 0, 0] > marked[1, 0, 2] + 50
    assert marked[1, 1, 2] > marked[1, 1, 0] + 50
    np.testing.assert_array_equal(marked[[0, 2]], shown[[0, 2]])


def sheet(path: Path, captions: list[str], heading: str = "Surest") -> np.ndarray:
    images = np.full((len(captions), 30, 20, 3), 128, np.uint8)
    maps = np.ones((len(captions), 30, 20))
    maps[1::2] = -1
    assert write_sheet(path, images, maps, captions, heading) == path
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_first_poster_is_warm_and_second_is_cold(tmp_path):
    picture = sheet(tmp_path / "new" / "sheet.png", ["a", "b"])[:-150]  # above the scale
    warm, cold = picture[..., 0] - picture[..., 2] > 120, picture[..., 2] - picture[..., 0] > 80
    middle = picture.shape[1] // 2
    assert warm[:, :middle].sum() > 5000 > 50 > warm[:, middle:].sum()
    assert cold[:, middle:].sum() > 5000 > 50 > cold[:, :middle].sum()


def test_rows_grow_with_the_posters_and_odd_texts_are_drawn(tmp_path):
    odd = ["七人の侍", "$x$ and $\\frac{1}$", "كفرناحوم", ""]
    heights = [sheet(tmp_path / f"{n}.png", odd[:n], "$5 & more").shape[0] for n in (0, 1, 2, 3, 4)]
    assert heights[0] == heights[1] == heights[2] < heights[3] == heights[4]


def test_captions_are_a_short_line_and_what_was_said():
    assert poster_caption(" Two\nlines ", 0.25, 1) == "Two lines\ntrue label Fresh, P(Fresh) = 0.250"
    assert poster_caption("", 0.9996, 0) == "(no title)\ntrue label Rotten, P(Fresh) = 1.000"
    assert poster_caption("x" * 90, 0.5) == "x" * 51 + "…\nP(Fresh) = 0.500"
