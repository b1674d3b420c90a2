"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

Inverted residual blocks of depthwise convolutions; the small one for CPUs.
"""

from __future__ import annotations

import warnings
from typing import Any

from poster_ml.models.family import Family

# Blocks whose input is added to their output end in an Add layer, the others in a BatchNorm (table 2).
RESIDUAL_BLOCKS = frozenset({2, 4, 5, 7, 8, 9, 11, 12, 14, 15})


def build_backbone(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Builds the headless network; input (B, H, W, 3), output (B, H / 32, W / 32, 1280)."""
    import keras

    with warnings.catch_warnings():
        # Keras says that the weights for 224 pixels are loaded at any other size: what we want.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
        return keras.applications.MobileNetV2(include_top=False, weights=weights, input_shape=input_shape)


MOBILENET_V2 = Family(
    name="mobilenet_v2",
    scale="symmetric",
    smallest_size=32,
    first_convolution="Conv1",
    build_backbone=build_backbone,
    blocks=(
        ("Conv1", "Conv1_relu"),
        ("expanded_conv", "expanded_conv_project_BN"),
        *(
            (f"block_{number}", f"block_{number}_" + ("add" if number in RESIDUAL_BLOCKS else "project_BN"))
            for number in range(1, 17)
        ),
        ("Conv_1", "out_relu"),
    ),
    weights_file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    parameters=2_257_984,
    depthwise=True,
)
