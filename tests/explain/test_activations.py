import keras
import numpy as np
import pytest
from PIL import Image

from poster_ml.explain.activations import activation_mosaic, default_activation_layers, write_activation_grids


def deep(count: int) -> keras.Model:
    """`count` convolutions without activation, each followed by batch normalisation and a ReLU of its own."""
    image = keras.Input((24, 16, 3), dtype="uint8")
    tensor = keras.layers.Rescaling(1 / 255)(image)
    for number in range(1, count + 1):
        tensor = keras.layers.Conv2D(3, 3, padding="same", name=f"conv_{number}")(tensor)
        tensor = keras.layers.BatchNormalization(name=f"norm_{number}")(tensor)
        tensor = keras.layers.Activation("relu", name=f"relu_{number}")(tensor)
    pooled = keras.layers.GlobalAveragePooling2D()(tensor)
    return keras.Model(image, keras.layers.Dense(1, name="logit")(pooled))


def test_first_fourth_and_ninth_convolution_with_their_relu(nets):
    assert default_activation_layers(deep(9)) == ["conv_1", "relu_1", "conv_4", "relu_4", "conv_9", "relu_9"]
    assert default_activation_layers(deep(5)) == ["conv_1", "relu_1", "conv_4", "relu_4"]
    # Rectified by itself: it stands for both.
    assert default_activation_layers(nets.red_against_green()) == ["colour_conv"]


@pytest.mark.parametrize(("named", "written"), [([], ["conv_1", "relu_1"]), (["norm_2"], ["norm_2"])])
def test_grids_are_written_under_the_name_of_the_layer(nets, tmp_path, named, written):
    paths = write_activation_grids(deep(2), nets.noise(1, 24, 16)[0], tmp_path / "grids", named)
    assert [path.name for path in paths] == [f"activations_{name}.png" for name in written]
    assert all(Image.open(path).width > 1000 for path in paths)


def test_mosaic_has_16_maps_per_row_stretched_and_gaps_of_nan():
    maps = np.zeros((2, 3, 18), np.float32)
    maps[..., 17] = [[5, 5, 5], [5, 5, 9]]
    mosaic = activation_mosaic(maps)
    assert mosaic.shape == (2 * 3 + 1, 16 * 4 + 1)
    np.testing.assert_array_equal(mosaic[4:6, 5:8], [[0, 0, 0], [0, 0, 1]])
    assert np.isfinite(mosaic).sum() == 6  # the 17 constant maps and all gaps are NaN
