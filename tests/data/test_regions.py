"""Regions, masks and denoising on pictures whose parts are known."""

import numpy as np
import pytest

from poster_ml.data.regions import denoise, foreground_mask, mark_regions, region_features


def canvas(height: int = 120, width: int = 80, color: tuple[int, int, int] = (30, 60, 120)) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def three_blocks(height: int = 120, width: int = 80) -> np.ndarray:
    image = canvas(height, width)
    image[20:50, 10:36] = (220, 40, 40)
    image[20:50, 44:70] = (240, 240, 230)
    image[70:106, 20:60] = (250, 200, 20)
    return image


def noisy(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, strength, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_every_block_is_one_region_and_the_ground_another():
    labels = mark_regions(noisy(three_blocks(), 3))
    assert labels.shape == (120, 80)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    centres = [labels[35, 22], labels[35, 57], labels[87, 40], labels[3, 3]]
    assert len(set(centres)) == 4
    assert (labels == labels[35, 22]).sum() == pytest.approx(30 * 26, rel=0.15)


def test_a_gradient_is_one_ground():
    ramp = np.linspace(60, 140, 120)[:, None, None]
    image = np.broadcast_to(ramp, (120, 80, 3)).astype(np.uint8).copy()
    image[40:80, 20:60] = (220, 40, 40)
    assert mark_regions(image).max() + 1 <= 4


def test_one_colour_is_one_region_without_foreground():
    assert mark_regions(canvas()).max() == 0
    assert not foreground_mask(canvas()).any()
    assert not foreground_mask(noisy(canvas(), 2)).any()


def test_the_foreground_is_what_was_set_on_the_ground():
    image = three_blocks()
    truth = (image != canvas()).any(axis=-1)
    mask = foreground_mask(noisy(image, 3))
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_specks_are_not_foreground():
    image = canvas(200, 200)
    image[80:120, 80:120] = (250, 250, 250)
    image[30, 30] = (250, 250, 250)
    mask = foreground_mask(image)
    assert mask[100, 100]
    assert not mask[25:36, 25:36].any()


def test_denoising_removes_grain_and_keeps_edges():
    clean = three_blocks()
    grainy = noisy(clean, 8)
    cleaned = denoise(grainy)
    assert (cleaned.shape, cleaned.dtype) == (grainy.shape, np.uint8)
    error = lambda image: np.abs(image.astype(float) - clean).mean()  # noqa: E731
    assert error(cleaned) < 0.5 * error(grainy)
    step = cleaned[35, 38:50, 0].astype(int)
    assert np.abs(np.diff(step)).max() > 150


def test_features_count_and_measure_the_blocks():
    features = region_features(three_blocks(128, 128))
    assert features["region_count"] == 4
    ground = 1 - (30 * 26 * 2 + 36 * 40) / 128**2
    assert features["largest_region_share"] == pytest.approx(ground, abs=0.03)
    assert features["foreground_share"] == pytest.approx(1 - ground, abs=0.04)
    assert features["small_region_share"] == 0
    assert region_features(canvas(64, 64))["region_evenness"] == 0
    halves = canvas(64, 64)
    halves[:, 32:] = (250, 250, 250)
    assert region_features(halves)["region_evenness"] == pytest.approx(1, abs=0.01)
