"""Names of families."""

from __future__ import annotations

import pytest

from poster_ml.errors import UnknownFamilyError
from poster_ml.models.catalogue import FAMILIES, find_family


def test_finds_a_family_by_name() -> None:
    assert find_family("vgg16") is FAMILIES["vgg16"]


def test_an_unknown_family_gets_the_nearest_name_and_the_list() -> None:
    with pytest.raises(UnknownFamilyError) as caught:
        find_family("vgg-16")
    assert str(caught.value) == (
        "unknown model family 'vgg-16' (did you mean 'vgg16'?): choose one of "
        "cnn, vgg16, inception_v3, inception_resnet_v2, mobilenet_v2"
    )
