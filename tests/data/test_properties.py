"""Properties of pictures for which the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from poster_ml.data.properties import measure, measure_poster


def plain(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((64, 48, 3), color, np.uint8)


def test_a_grey_poster_has_brightness_and_nothing_else() -> None:
    found = measure_poster(plain((128, 128, 128)))
    assert found["brightness"] == pytest.approx(128 / 255, abs=1e-5)
    for name in ("contrast", "saturation", "warmth", "colorfulness", "sharpness", "edge_density", "entropy"):
        assert found[name] == pytest.approx(0, abs=1e-5), name
    assert found["region_count"] == 1
    assert measure_poster(plain((0, 0, 0)))["saturation"] == 0  # black does not divide by zero


def test_colours_are_measured_on_their_scales() -> None:
    red, blue = measure_poster(plain((255, 0, 0))), measure_poster(plain((0, 0, 255)))
    assert red["brightness"] == pytest.approx(0.299)
    assert red["saturation"] == 1
    assert (red["warmth"], blue["warmth"]) == (1, -1)
    # Hasler and Suesstrunk: no spread, offset hypot(255, 127.5), times .3.
    assert red["colorfulness"] == pytest.approx(0.3 * np.hypot(255, 127.5), rel=1e-4)


def test_half_black_half_white_has_the_greatest_contrast_and_one_bit() -> None:
    image = plain((0, 0, 0))
    image[:32] = 255
    found = measure_poster(image)
    assert found["contrast"] == pytest.approx(0.5)
    assert found["entropy"] == pytest.approx(1)
    assert found["corner_top_left"] == pytest.approx(0.5)
    assert found["corner_bottom_right"] == pytest.approx(-0.5)
    assert found["edge_density"] == pytest.approx(2 / 62)  # two rows of the inner 62 see the step


def test_blurring_lowers_sharpness_and_edges() -> None:
    random = np.random.default_rng(0)
    sharp = random.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    soft = uniform_filter(sharp, (2, 2, 1))
    first, second = measure_poster(sharp), measure_poster(soft)
    assert second["sharpness"] < 0.5 * first["sharpness"]
    assert second["edge_density"] < first["edge_density"]


def test_rows_are_measured_in_the_order_asked_whatever_the_workers(tmp_path) -> None:
    images = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (10, 200, 90)])
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    table = measure(mapped, [2, 0, 1], workers=2)
    assert table.index.tolist() == [2, 0, 1]
    assert table["brightness"].tolist() == pytest.approx([90 / 255, 10 / 255, 200 / 255])
    assert table.equals(measure(images, [2, 0, 1], workers=1))
