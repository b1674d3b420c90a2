"""The families of networks that `--model` variants are made of: one file and one line each."""

from __future__ import annotations

from poster_ml.errors import UnknownFamilyError, nearest
from poster_ml.models.cnn import CNN
from poster_ml.models.family import Family
from poster_ml.models.inception_resnet_v2 import INCEPTION_RESNET_V2
from poster_ml.models.inception_v3 import INCEPTION_V3
from poster_ml.models.mobilenet_v2 import MOBILENET_V2
from poster_ml.models.vgg16 import VGG16

FAMILIES: dict[str, Family] = {
    "cnn": CNN,
    "vgg16": VGG16,
    "inception_v3": INCEPTION_V3,
    "inception_resnet_v2": INCEPTION_RESNET_V2,
    "mobilenet_v2": MOBILENET_V2,
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
