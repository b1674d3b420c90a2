"""Properties of pictures for which the right answer is known."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from poster_ml.data.properties import measure, measure_poster


def plain(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((64, 48, 3), color, np.uint8)


HASLER = 0.3 * np.hypot(255, 127.5)  # Hasler and Suesstrunk of red: no spread, offset times .3
NAMES = ("brightness", "contrast", "saturation", "warmth", "colorfulness", "entropy")


@pytest.mark.parametrize(
    ("lower", "upper", "values"),
    [
        ((128,) * 3, (128,) * 3, (128 / 255, 0, 0, 0, 0, 0)),
        ((0,) * 3, (0,) * 3, (0, 0, 0, 0, 0, 0)),  # black does not divide by zero
        ((255, 0, 0), (255, 0, 0), (0.299, 0, 1, 1, HASLER, 0)),
        ((0, 0, 255), (0, 0, 255), (0.114, 0, 1, -1, 0.3 * 255, 0)),
        ((0,) * 3, (255,) * 3, (0.5, 0.5, 0, 0, 0, 1)),
    ],
)
def test_properties_of_one_colour_and_of_two_halves(lower, upper, values):
    image = plain(lower)
    image[:32] = upper
    found = measure_poster(image)
    assert [found[name] for name in NAMES] == pytest.approx(values, abs=1e-4, rel=1e-4)
    step = float(lower != upper)
    assert found["region_count"] == 1 + step
    assert found["edge_density"] == pytest.approx(step * 2 / 62)  # two rows of the inner 62 see the step
    corners = [found["corner_top_left"], -found["corner_bottom_right"]]
    assert corners == pytest.approx([step / 2] * 2, abs=1e-6)
    assert (found["sharpness"] > 0) == bool(step)


def test_blurring_lowers_sharpness_and_edges():
    random = np.random.default_rng(0)
    sharp = random.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    soft = uniform_filter(sharp, (2, 2, 1))
    first, second = measure_poster(sharp), measure_poster(soft)
    assert second["sharpness"] < 0.5 * first["sharpness"]
    assert second["edge_density"] < first["edge_density"]


def test_rows_are_measured_in_the_order_asked_whatever_the_workers(tmp_path):
    images = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (10, 200, 90)])
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    table = measure(mapped, [2, 0, 1], workers=2)
    assert table.index.tolist() == [2, 0, 1]
    assert table["brightness"].tolist() == pytest.approx([90 / 255, 10 / 255, 200 / 255])
    assert table.equals(measure(images, [2, 0, 1], workers=1))
