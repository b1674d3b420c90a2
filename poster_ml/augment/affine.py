"""Rotation, zoom, shift, shear and flip as one affine map and one resampling per poster."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from poster_ml.augment.base import RandomPosterLayer, check_range
from poster_ml.augment.resample import FILLS, resample


@keras.saving.register_keras_serializable(package="poster_ml")
class RandomAffine(RandomPosterLayer):
    """The geometric part of Keras' ImageDataGenerator, for a whole batch at once.

    Same draws, same order of the matrices (rotation, shift, shear, zoom, then the flip), same
    interpolation (linear) and fill. One difference: on a picture that is not square, ImageDataGenerator swaps
    the two halves of the centre and of the shift; here a picture turns about its own centre.

    Args:
        rotation: degrees, 0..180; drawn from [-rotation, rotation].
        zoom: 0..0.9; height and width each drawn from [1 - zoom, 1 + zoom]; below 1 enlarges.
        shift: 0..0.9, fraction of height and of width; each drawn from [-shift, shift].
        shear: degrees, 0..80; drawn from [-shear, shear].
        horizontal_flip: mirror with probability strength / 2.
        fill: beyond the edge: "nearest" repeats it, "reflect" mirrors the picture, "constant" is black.
        strength: 0..1, multiplies every range.
        seed: of the draws.

    Input and output: see `RandomPosterLayer`.

    Raises: ValueError with the argument received.
    """

    arguments = ("rotation", "zoom", "shift", "shear", "horizontal_flip", "fill", "strength")

    def __init__(
        self,
        rotation: float = 0.0,
        zoom: float = 0.0,
        shift: float = 0.0,
        shear: float = 0.0,
        horizontal_flip: bool = False,
        fill: str = "nearest",
        strength: float = 1.0,
        seed: int = 42,
        **kwargs: Any,
    ) -> None:
        check_range("rotation", rotation, 180.0)
        check_range("zoom", zoom, 0.9)
        check_range("shift", shift, 0.9)
        check_range("shear", shear, 80.0)
        check_range("strength", strength, 1.0)
        if fill not in FILLS:
            raise ValueError(f"fill must be one of {', '.join(FILLS)}; received {fill=}")
        super().__init__(seed=seed, **kwargs)
        self.rotation = rotation
        self.zoom = zoom
        self.shift = shift
        self.shear = shear
        self.horizontal_flip = horizontal_flip
        self.fill = fill
        self.strength = strength
        self.active = strength > 0 and (horizontal_flip or max(rotation, zoom, shift, shear) > 0)

    def transform(self, images: Any) -> Any:
        """Resamples each picture under its own map."""
        if not self.active:
            return images
        height, width = images.shape[1:3]
        return resample(images, self.draw_maps(images, height, width), self.fill)

    def draw_maps(self, images: Any, height: int, width: int) -> Any:
        """Draws one map per image: (B, 6)."""
        signed = self.draw(images, 6, -1.0, 1.0) * self.strength  # (B, 6)
        flipped = self.draw(images, 1)[:, 0] < 0.5 * self.strength * float(self.horizontal_flip)
        return affine_maps(
            height,
            width,
            rotation=signed[:, 0] * self.rotation,
            shift_x=signed[:, 1] * self.shift,
            shift_y=signed[:, 2] * self.shift,
            shear=signed[:, 3] * self.shear,
            zoom_x=1.0 + signed[:, 4] * self.zoom,
            zoom_y=1.0 + signed[:, 5] * self.zoom,
            flipped=flipped,
        )


def affine_maps(
    height: int,
    width: int,
    *,
    rotation: Any,
    shift_x: Any,
    shift_y: Any,
    shear: Any,
    zoom_x: Any,
    zoom_y: Any,
    flipped: Any,
) -> Any:
    """Composes the maps from output to input pixels, in closed form.

    The product rotation . shift . shear . zoom has the linear part
    [[zx cos t, -zy sin(t + s)], [zx sin t, zy cos(t + s)]] for the angles t (rotation) and s (shear).

    Args:
        height, width: of the pictures, in pixels.
        rotation, shear: (B,) degrees.
        shift_x, shift_y: (B,) fractions of width and height.
        zoom_x, zoom_y: (B,) factors.
        flipped: (B,) bool; the result is mirrored left to right.

    Returns: (B, 6) float32: a, b, c, d, e, f with x_in = a x + b y + c and y_in = d x + e y + f.
    """
    turn = rotation * (math.pi / 180.0)
    lean = turn + shear * (math.pi / 180.0)
    a, b = zoom_x * ops.cos(turn), -zoom_y * ops.sin(lean)
    d, e = zoom_x * ops.sin(turn), zoom_y * ops.cos(lean)
    x, y = shift_x * width, shift_y * height
    centre_x, centre_y = (width - 1) / 2.0, (height - 1) / 2.0
    c = centre_x + ops.cos(turn) * x - ops.sin(turn) * y - a * centre_x - b * centre_y
    f = centre_y + ops.sin(turn) * x + ops.cos(turn) * y - d * centre_x - e * centre_y
    # The flip replaces x by (width - 1) - x in the output.
    c, f = ops.where(flipped, c + a * (width - 1), c), ops.where(flipped, f + d * (width - 1), f)
    a, d = ops.where(flipped, -a, a), ops.where(flipped, -d, d)
    return ops.stack([a, b, c, d, e, f], axis=-1)
