"""What the catalogue knows about one family of networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """One family: everything that differs between networks and is not an option of a run.

    Attributes:
        name: as in configurations, for example "vgg16".
        scale: what `PosterPreprocessing` does by default: "unit", "symmetric" or "caffe".
        smallest_size: least height and width in pixels.
        first_convolution: name of the lowest convolution.
        build_backbone: (input_shape, weights) -> headless model with preprocessed input, weights being
            "imagenet" or None; None for families that are trained whole.
        blocks: (block name, name of the block's last layer), from input to output.
        weights_file: the file that Keras downloads; empty without a backbone.
        parameters: of the headless backbone; 0 without one.
        depthwise: whether it lives on depthwise convolutions, for which processors have no fast bfloat16.
    """

    name: str
    scale: str
    smallest_size: int
    first_convolution: str
    build_backbone: Callable[[tuple[int, int, int], str | None], Any] | None = None
    blocks: tuple[tuple[str, str], ...] = ()
    weights_file: str = ""
    parameters: int = 0
    depthwise: bool = False

    @property
    def has_backbone(self) -> bool:
        """Whether there is a pretrained part that can be frozen, cut and loaded."""
        return self.build_backbone is not None
