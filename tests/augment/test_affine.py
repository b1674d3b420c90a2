"""RandomAffine: what ImageDataGenerator does, in one resampling."""

import keras
import numpy as np
import pytest
import scipy.ndimage
from keras import ops
from tensorflow.keras.preprocessing.image import ImageDataGenerator

from poster_ml.augment.affine import RandomAffine, affine_maps
from poster_ml.augment.resample import FILLS, resample, resample_gather
from poster_ml.training.precision import precision_scope

STILL = {"rotation": 0.0, "shift_x": 0.0, "shift_y": 0.0, "shear": 0.0, "zoom_x": 1.0, "zoom_y": 1.0}


def picture(height: int, width: int, count: int = 1) -> np.ndarray:
    values = np.random.default_rng(5).uniform(0, 255, (count, height, width, 3))
    return values.astype("float32")


def maps_of(height: int, width: int, flipped: bool = False, **numbers: float) -> np.ndarray:
    tensors = {
        name: ops.convert_to_tensor(np.float32([value])) for name, value in {**STILL, **numbers}.items()
    }
    maps = affine_maps(height, width, **tensors, flipped=ops.convert_to_tensor([flipped]))
    return ops.convert_to_numpy(maps)


def apply(images: np.ndarray, maps: np.ndarray, fill: str = "nearest") -> np.ndarray:
    return ops.convert_to_numpy(resample(ops.convert_to_tensor(images), ops.convert_to_tensor(maps), fill))


def legacy(image: np.ndarray, flipped: bool, fill: str = "nearest", **numbers: float) -> np.ndarray:
    """ImageDataGenerator with the same drawn numbers; its tx moves columns here, its ty rows."""
    height, width = image.shape[:2]
    drawn = {
        "theta": numbers["rotation"],
        "tx": numbers["shift_x"] * width,
        "ty": numbers["shift_y"] * height,
        "shear": numbers["shear"],
        "zx": numbers["zoom_x"],
        "zy": numbers["zoom_y"],
        "flip_horizontal": flipped,
    }
    return ImageDataGenerator(fill_mode=fill).apply_transform(image, drawn)


def draw_numbers(seed: int) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    return {
        "rotation": generator.uniform(-50, 50),
        "shift_x": generator.uniform(-0.2, 0.2),
        "shift_y": generator.uniform(-0.2, 0.2),
        "shear": generator.uniform(-30, 30),
        "zoom_x": generator.uniform(0.7, 1.3),
        "zoom_y": generator.uniform(0.7, 1.3),
    }


@pytest.mark.parametrize("fill", ["nearest", "reflect"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_image_data_generator_with_the_same_draws(seed, fill):
    numbers, flipped = draw_numbers(seed), bool(seed % 2)
    image = picture(32, 32)
    ours = apply(image, maps_of(32, 32, flipped, **numbers), fill)[0]
    np.testing.assert_allclose(ours, legacy(image[0], flipped, fill, **numbers), atol=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_a_tall_picture_moves_like_its_place_in_a_square_one(seed):
    """ImageDataGenerator's centre is wrong off the square: compare inside a square canvas around it."""
    numbers = {**draw_numbers(seed), "shift_x": 0.0, "shift_y": 0.0}
    height, width, side = 40, 28, 64
    image = picture(height, width)[0]
    canvas, mask = np.zeros((side, side, 3), "float32"), np.zeros((side, side, 1), "float32")
    inside = (
        slice((side - height) // 2, (side + height) // 2),
        slice((side - width) // 2, (side + width) // 2),
    )
    canvas[inside], mask[inside] = image, 1.0
    expected = legacy(canvas, False, **numbers)[inside]
    interior = legacy(mask, False, **numbers)[inside][..., 0] == 1.0
    ours = apply(image[None], maps_of(height, width, **numbers))[0]
    assert interior.mean() > 0.3
    np.testing.assert_allclose(ours[interior], expected[interior], atol=0.02)


@pytest.mark.parametrize("fill", FILLS)
def test_compiled_or_not_it_agrees_with_scipy_beyond_the_edges(fill):
    image = picture(20, 33)
    maps = maps_of(20, 33, True, rotation=40.0, shift_x=0.3, shift_y=-0.2, shear=10.0, zoom_x=1.9, zoom_y=1.4)
    a, b, c, d, e, f = maps[0].astype(float)
    mode = "grid-constant" if fill == "constant" else fill
    expected = np.stack(
        [
            scipy.ndimage.affine_transform(
                image[0, ..., channel], [[e, d], [b, a]], [f, c], order=1, mode=mode
            )
            for channel in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(apply(image, maps, fill)[0], expected, atol=0.02)
    gathered = resample_gather(ops.convert_to_tensor(image), ops.convert_to_tensor(maps), fill)
    np.testing.assert_allclose(ops.convert_to_numpy(gathered)[0], expected, atol=0.02)


def test_draws_stay_in_the_ranges_and_fill_them():
    layer = RandomAffine(rotation=30.0, zoom=0.3, seed=0)
    images = np.zeros((4000, 2, 2, 3), "float32")
    a, _, _, d, *_ = ops.convert_to_numpy(layer.draw_maps(images, 2, 2)).T
    zoom, angle = np.hypot(a, d), np.rad2deg(np.arctan2(d, a))
    assert 0.7 <= zoom.min() < 0.71
    assert 1.29 < zoom.max() <= 1.3
    assert -30.001 <= angle.min() < -29.5
    assert 29.5 < angle.max() <= 30.001


def test_strength_scales_every_range_and_the_flip():
    images = np.zeros((4000, 2, 2, 3), "float32")
    full = RandomAffine(rotation=30.0, zoom=0.3, shift=0.2, shear=20.0, seed=0, strength=0.25)
    scaled = RandomAffine(rotation=7.5, zoom=0.075, shift=0.05, shear=5.0, seed=0)
    np.testing.assert_allclose(
        ops.convert_to_numpy(full.draw_maps(images, 2, 2)),
        ops.convert_to_numpy(scaled.draw_maps(images, 2, 2)),
        atol=1e-6,
    )
    flipping = RandomAffine(horizontal_flip=True, strength=0.5, seed=0)
    flipped = ops.convert_to_numpy(flipping.draw_maps(images, 2, 2))[:, 0] < 0
    assert 0.22 < flipped.mean() < 0.28


def test_pixels_stay_float32_under_a_mixed_precision_policy():
    with precision_scope("mixed_bfloat16"):
        layer = RandomAffine(rotation=10.0)
        result = layer(np.full((1, 8, 8, 3), 201, "uint8"), training=True)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(result), 201.0, atol=1e-3)
