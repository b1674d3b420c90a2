from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from poster_ml.errors import UnknownLayerError
from poster_ml.explain.activations import (
    activation_mosaic,
    dead_channels,
    default_activation_layers,
    layer_outputs,
    write_activation_grids,
)


def deep(count: int) -> keras.Model:
    """`count` convolutions without activation, each followed by batch normalisation and a ReLU of its own."""
    image = keras.Input((24, 16, 3), dtype="uint8")
    tensor = keras.layers.Rescaling(1 / 255)(image)
    for number in range(1, count + 1):
        tensor = keras.layers.Conv2D(3, 3, padding="same", name=f"conv_{number}")(tensor)
        tensor = keras.layers.BatchNormalization(name=f"norm_{number}")(tensor)
        tensor = keras.layers.Activation("relu", name=f"relu_{number}")(tensor)
    return keras.Model(
        image, keras.layers.Dense(1, name="logit")(keras.layers.GlobalAveragePooling2D()(tensor))
    )


def test_first_fourth_and_ninth_convolution_with_their_relu() -> None:
    assert default_activation_layers(deep(9)) == ["conv_1", "relu_1", "conv_4", "relu_4", "conv_9", "relu_9"]
    assert default_activation_layers(deep(5)) == ["conv_1", "relu_1", "conv_4", "relu_4"]


def test_rectified_convolution_stands_for_both(nets) -> None:
    assert default_activation_layers(nets.red_against_green()) == ["colour_conv"]


def test_grids_are_written_under_the_name_of_the_layer(nets, tmp_path: Path) -> None:
    paths = write_activation_grids(deep(4), nets.noise(1, 24, 16)[0], tmp_path / "grids")
    assert [path.name for path in paths] == [
        f"activations_{name}.png" for name in ("conv_1", "relu_1", "conv_4", "relu_4")
    ]
    assert all(Image.open(path).width > 1000 for path in paths)
    named = write_activation_grids(deep(4), nets.noise(1, 24, 16)[0], tmp_path, ["norm_2"])
    assert [path.name for path in named] == ["activations_norm_2.png"]


def test_mosaic_has_16_maps_per_row_stretched_and_gaps_of_nan() -> None:
    maps = np.zeros((2, 3, 18), np.float32)
    maps[..., 17] = [[5, 5, 5], [5, 5, 9]]
    mosaic = activation_mosaic(maps)
    assert mosaic.shape == (2 * 3 - 1, 16 * 4 - 1)
    np.testing.assert_array_equal(mosaic[3:5, 4:7], [[0, 0, 0], [0, 0, 1]])
    assert np.isfinite(mosaic).sum() == 6  # the 17 constant maps and all gaps are NaN


def test_layer_outputs_are_the_layers_own(nets) -> None:
    images = nets.coloured()
    batches = layer_outputs(nets.red_against_green(), images, ["colour_conv", "scale"], batch_size=1)
    for image, outputs in zip(images, batches, strict=True):
        np.testing.assert_allclose(outputs["colour_conv"][0], image[..., :2] / 255, atol=1e-6)
        np.testing.assert_allclose(outputs["scale"][0], image / 255, atol=1e-6)


def test_dead_channels_are_counted_over_the_whole_batch(nets) -> None:
    model, images = nets.red_against_green(), nets.coloured()
    assert dead_channels(model, images[:1], "colour_conv").tolist() == [1]  # no green in the first poster
    assert dead_channels(model, images, "colour_conv", batch_size=1).tolist() == []
    assert dead_channels(model, images * 0, "colour_conv").tolist() == [0, 1]


def test_refusals(nets, tmp_path: Path) -> None:
    with pytest.raises(UnknownLayerError, match="no layer 'mixed8' with 4-D output"):
        write_activation_grids(nets.red_against_green(), nets.coloured()[0], tmp_path, ["mixed8"])
    with pytest.raises(ValueError, match=r"image.shape=\(2, 12, 8, 3\)"):
        write_activation_grids(nets.red_against_green(), nets.coloured(), tmp_path)
    with pytest.raises(ValueError, match="at least one image"):
        dead_channels(nets.red_against_green(), nets.coloured()[:0], "colour_conv")
