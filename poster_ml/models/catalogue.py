"""The families of networks that `--model` variants are made of: one entry each."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from poster_ml.errors import UnknownFamilyError, nearest


@dataclass(frozen=True)
class Family:
    """One family: everything that differs between networks and is not an option of a run.

    Attributes:
        name: as in configurations, for example "vgg16".
        scale: what `PosterPreprocessing` does by default: "unit", "symmetric" or "caffe".
        smallest_size: least height and width in pixels.
        first_convolution: name of the lowest convolution.
        application: its name in `keras.applications`; empty for families that are trained whole.
        blocks: (block name, name of the block's last layer), from input to output.
        weights_file: the file that Keras downloads; empty without a backbone.
        depthwise: whether it lives on depthwise convolutions, for which processors have no fast bfloat16.
    """

    name: str
    scale: str
    smallest_size: int
    first_convolution: str
    application: str = ""
    blocks: tuple[tuple[str, str], ...] = ()
    weights_file: str = ""
    depthwise: bool = False

    @property
    def has_backbone(self) -> bool:
        """Whether there is a pretrained part that can be frozen, cut and loaded."""
        return bool(self.application)

    def build_backbone(self, input_shape: tuple[int, int, int], weights: str | None) -> Any:
        """Builds the headless network: preprocessed pictures (B, H, W, 3) to features (B, h, w, K).

        Args:
            input_shape: (H, W, 3).
            weights: "imagenet", which Keras downloads once, or None.
        """
        import keras  # takes seconds, and the catalogue alone needs none of it

        build = getattr(keras.applications, self.application)
        with warnings.catch_warnings():
            # Keras says that MobileNetV2's weights for 224 pixels are loaded at any size: what we want.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            return build(include_top=False, weights=weights, input_shape=input_shape)


# The study's own network (damengjin 2020), see `cnn.tower`.
CNN = Family(name="cnn", scale="unit", smallest_size=4, first_convolution="conv_1")

# Simonyan and Zisserman 2015 (arXiv:1409.1556): thirteen 3x3 convolutions, no batch normalisation.
VGG16 = Family(
    name="vgg16",
    scale="caffe",
    smallest_size=32,
    first_convolution="block1_conv1",
    application="VGG16",
    blocks=tuple((f"block{number}", f"block{number}_pool") for number in range(1, 6)),
    weights_file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
)

# Szegedy et al. 2016 (arXiv:1512.00567): a stem and eleven mixed blocks.
INCEPTION_V3 = Family(
    name="inception_v3",
    scale="symmetric",
    smallest_size=75,
    first_convolution="conv2d",
    application="InceptionV3",
    blocks=(("stem", "max_pooling2d_1"), *((f"mixed{number}", f"mixed{number}") for number in range(11))),
    weights_file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
)

# Szegedy et al. 2017 (arXiv:1602.07261): residual inception blocks, 244 convolutions.
INCEPTION_RESNET_V2 = Family(
    name="inception_resnet_v2",
    scale="symmetric",
    smallest_size=75,
    first_convolution="conv2d",
    application="InceptionResNetV2",
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
)

# Sandler et al. 2018 (arXiv:1801.04381): inverted residual blocks; the small one for CPUs. Blocks whose input
# is added to their output end in an Add layer, the others in a BatchNorm (table 2).
_RESIDUAL_BLOCKS = {2, 4, 5, 7, 8, 9, 11, 12, 14, 15}
MOBILENET_V2 = Family(
    name="mobilenet_v2",
    scale="symmetric",
    smallest_size=32,
    first_convolution="Conv1",
    application="MobileNetV2",
    blocks=(
        ("Conv1", "Conv1_relu"),
        ("expanded_conv", "expanded_conv_project_BN"),
        *(
            (f"block_{number}", f"block_{number}_" + ("add" if number in _RESIDUAL_BLOCKS else "project_BN"))
            for number in range(1, 17)
        ),
        ("Conv_1", "out_relu"),
    ),
    weights_file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    depthwise=True,
)

FAMILIES: dict[str, Family] = {
    family.name: family for family in (CNN, VGG16, INCEPTION_V3, INCEPTION_RESNET_V2, MOBILENET_V2)
}


def find_family(name: str) -> Family:
    """Returns the family of that name.

    Raises: UnknownFamilyError with the nearest name and the list.
    """
    if name not in FAMILIES:
        raise UnknownFamilyError(
            f"unknown model family {name!r}{nearest(name, FAMILIES)}: choose one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]
