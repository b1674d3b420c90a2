"""Brightness, contrast, saturation, erasing: what each changes and what it leaves alone."""

import numpy as np
from keras import ops

from poster_ml.augment.base import grayscale
from poster_ml.augment.colour import RandomBrightness, RandomContrast, RandomSaturation
from poster_ml.augment.erasing import RandomErasing


def middle_pixels(count: int, height: int = 12, width: int = 9) -> np.ndarray:
    """Pixels 100..150: far enough from the ends that nothing is clipped."""
    return np.random.default_rng(1).integers(100, 151, (count, height, width, 3)).astype("uint8")


def changed(layer, images: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(layer(images, training=True))


def luma(images: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(grayscale(ops.convert_to_tensor(images.astype("float32"))))


def test_brightness_adds_one_number_per_poster_within_its_range():
    images = middle_pixels(400)
    difference = changed(RandomBrightness(0.2, seed=0), images) - images
    added = difference[:, 0, 0, 0]
    np.testing.assert_allclose(
        difference, np.broadcast_to(added[:, None, None, None], images.shape), atol=1e-3
    )
    assert -51 <= added.min() < -48
    assert 48 < added.max() <= 51


def test_contrast_keeps_the_mean_luma_and_scales_the_distances():
    images = middle_pixels(200)
    result = changed(RandomContrast(0.5, seed=0), images)
    np.testing.assert_allclose(
        luma(result).mean(axis=(1, 2, 3)), luma(images).mean(axis=(1, 2, 3)), atol=0.01
    )
    ratio = result.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    assert 0.5 <= ratio.min() < 0.55
    assert 1.45 < ratio.max() <= 1.51


def test_saturation_keeps_every_pixels_luma_and_grey_pictures():
    images = middle_pixels(50)
    result = changed(RandomSaturation(0.6, seed=0), images)
    np.testing.assert_allclose(luma(result), luma(images), atol=0.02)
    spread = (result.max(-1) - result.min(-1)).mean(axis=(1, 2)) / np.ptp(images, axis=-1).mean(axis=(1, 2))
    assert spread.min() < 0.6
    assert spread.max() > 1.4
    grey = np.repeat(images[..., :1], 3, axis=-1)
    np.testing.assert_allclose(changed(RandomSaturation(1.0), grey), grey, atol=0.02)


def test_erasing_paints_one_box_of_the_mean_colour_in_about_the_asked_share():
    images = np.random.default_rng(2).integers(0, 256, (300, 30, 20, 3)).astype("uint8")
    result = changed(RandomErasing(0.5, seed=0), images)
    touched = np.abs(result - images).max(-1) > 1e-3  # (B, H, W)
    painted = touched.any(axis=(1, 2))
    assert 0.42 < painted.mean() < 0.58
    for poster, box in zip(result[painted], touched[painted], strict=True):
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert len(rows) == np.ptp(rows) + 1
        filled = poster[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.ptp(filled, axis=(0, 1)).max() < 1e-3
    share = touched[painted].mean(axis=(1, 2))
    assert share.min() > 0.005
    assert 0.15 < share.max() < 0.26
    first = np.flatnonzero(painted)[0]
    np.testing.assert_allclose(
        result[first][touched[first]].mean(0), images[first].mean(axis=(0, 1)), atol=0.01
    )
