"""The maps on the package's own families, with random weights."""

import keras
import numpy as np
import pytest

from poster_ml.explain.activations import default_activation_layers
from poster_ml.explain.maps import Explainer
from poster_ml.models.build import Architecture, build_model

SHOWN = ["block1_conv1", "block2_conv2", "block4_conv2"]
FAMILIES = [
    # family, pooling, dense, size, map, layers that are shown
    ("cnn", "flatten", (8,), (40, 32), "hirescam at ", None),
    ("vgg16", "flatten", (8,), (40, 32), "hirescam at block5_conv3", SHOWN),
    ("mobilenet_v2", "average", (), (40, 32), "cam at out_relu", None),
    ("inception_v3", "average", (8,), (80, 75), "gradcam at mixed7", None),  # then there is one place only
]


@pytest.mark.parametrize(("family", "pooling", "dense", "size", "how", "shown"), FAMILIES)
def test_every_family_has_a_map_and_layers_to_show(family, pooling, dense, size, how, shown, nets):
    keras.utils.set_random_seed(0)
    architecture = Architecture(family, (*size, 3), pooling=pooling, dense=dense)
    model = build_model(architecture, weights="none")
    explainer = Explainer(model)
    assert explainer.how.startswith(how)
    names = default_activation_layers(model)
    assert len(names) == len(set(names)) >= 1
    assert names == (shown or names)
    if family == "inception_v3":
        assert len(names) == 6  # three convolutions, each with the ReLU after its batch normalisation
        return
    drawn = explainer.explain(nets.noise(2, *size))
    assert drawn.shape == (2, *size)
    np.testing.assert_allclose(np.abs(drawn).max(axis=(1, 2)), 1, rtol=1e-5)
