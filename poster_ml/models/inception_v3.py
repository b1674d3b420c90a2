"""Inception-v3 (Szegedy et al. 2016, arXiv:1512.00567).

A stem and eleven mixed blocks, `mixed0` to `mixed10`.
"""

from __future__ import annotations

from typing import Any

from poster_ml.models.family import Family


def build_backbone(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Builds the headless network; input (B, H, W, 3), output (B, h, w, 2048), h = w = 5 at 224 pixels."""
    import keras

    return keras.applications.InceptionV3(include_top=False, weights=weights, input_shape=input_shape)


INCEPTION_V3 = Family(
    name="inception_v3",
    scale="symmetric",
    smallest_size=75,
    first_convolution="conv2d",
    build_backbone=build_backbone,
    blocks=(("stem", "max_pooling2d_1"), *((f"mixed{number}", f"mixed{number}") for number in range(11))),
    weights_file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    parameters=21_802_784,
)
