"""Inception-ResNet-v2 (Szegedy et al. 2017, arXiv:1602.07261).

Residual inception blocks, 244 convolutions.
"""

from __future__ import annotations

from typing import Any

from poster_ml.models.family import Family


def build_backbone(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Builds the headless network; input (B, H, W, 3), output (B, h, w, 1536), h = w = 5 at 224 pixels."""
    import keras

    return keras.applications.InceptionResNetV2(include_top=False, weights=weights, input_shape=input_shape)


INCEPTION_RESNET_V2 = Family(
    name="inception_resnet_v2",
    scale="symmetric",
    smallest_size=75,
    first_convolution="conv2d",
    build_backbone=build_backbone,
    blocks=(
        ("stem", "max_pooling2d_1"),
        ("mixed_5b", "mixed_5b"),
        *((f"block35_{number}", f"block35_{number}_ac") for number in range(1, 11)),
        ("mixed_6a", "mixed_6a"),
        *((f"block17_{number}", f"block17_{number}_ac") for number in range(1, 21)),
        ("mixed_7a", "mixed_7a"),
        *((f"block8_{number}", f"block8_{number}_ac") for number in range(1, 10)),
        ("block8_10", "custom_scale_layer_39"),  # the last residual block has no activation
        ("conv_7b", "conv_7b_ac"),
    ),
    weights_file="inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    parameters=54_336_736,
)
