"""VGG-16 (Simonyan and Zisserman 2015, arXiv:1409.1556).

Thirteen 3x3 convolutions in five blocks, no batch normalisation.
"""

from __future__ import annotations

from typing import Any

from poster_ml.models.family import Family


def build_backbone(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Builds the headless network; input (B, H, W, 3), output (B, H / 32, W / 32, 512)."""
    import keras

    return keras.applications.VGG16(include_top=False, weights=weights, input_shape=input_shape)


VGG16 = Family(
    name="vgg16",
    scale="caffe",
    smallest_size=32,
    first_convolution="block1_conv1",
    build_backbone=build_backbone,
    blocks=tuple((f"block{number}", f"block{number}_pool") for number in range(1, 6)),
    weights_file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    parameters=14_714_688,
)
