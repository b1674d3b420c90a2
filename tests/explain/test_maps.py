from __future__ import annotations

import keras
import numpy as np
import pytest

from poster_ml.errors import PosterMLError, UnknownLayerError
from poster_ml.explain.maps import Explainer, explain_images, normalise, resize_maps


def expected_fresh(images: np.ndarray) -> np.ndarray:
    """Red minus green, divided by its own largest absolute value."""
    difference = (images[..., 0].astype(np.float32) - images[..., 1]) / 255
    return difference / np.abs(difference).max(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("head", ["gap", "mlp"])
@pytest.mark.parametrize("method", ["auto", "gradcam", "hirescam"])
def test_map_of_the_hand_made_network_is_exact_for_both_classes(nets, head: str, method: str) -> None:
    model, images = nets.red_against_green(head), nets.coloured()
    expected = expected_fresh(images)
    fresh = explain_images(model, images, method=method, target=1)
    rotten = explain_images(model, images, method=method, target=0)
    np.testing.assert_allclose(fresh, expected, atol=1e-6)
    np.testing.assert_allclose(rotten, -expected, atol=1e-6)
    np.testing.assert_allclose(
        explain_images(model, images, method=method, target=0, signed=False)[1],
        np.maximum(-expected[1], 0),
        atol=1e-6,
    )


def test_cam_proper_is_exact_and_is_what_auto_takes(nets) -> None:
    model, images = nets.red_against_green(), nets.coloured()
    explainer = Explainer(model)
    assert (explainer.method, explainer.layer_name) == ("cam", "colour_conv")
    np.testing.assert_allclose(explainer.explain(images), expected_fresh(images), atol=1e-6)
    np.testing.assert_allclose(
        explain_images(model, images, method="cam", target=0), -expected_fresh(images), atol=1e-6
    )


def test_unsigned_map_keeps_only_what_speaks_for_the_target(nets) -> None:
    fresh, second = explain_images(nets.red_against_green(), nets.coloured(), signed=False)
    assert fresh.min() == 0
    assert fresh.max() == 1
    assert second.max() == 1  # the weak red patch, divided by its own maximum
    assert second[8:, :2].max() == 0


def test_flatten_head_gets_hirescam_which_keeps_the_places(nets) -> None:
    images = np.zeros((1, 12, 8, 3), np.uint8)
    images[0, 2:5, :3, 0] = images[0, 2:5, 5:, 0] = 255  # red on both sides; only the left half counts
    model = nets.red_against_green("flatten")
    explainer = Explainer(model)
    assert explainer.method == "hirescam"
    faithful = explainer.explain(images)[0]
    assert faithful[2:5, :3].min() == 1
    assert np.abs(faithful[:, 4:]).max() == 0
    averaged = explain_images(model, images, method="gradcam")[0]
    assert averaged[2:5, 5:].min() > 0.9  # the reason why "auto" does not take Grad-CAM here


def test_heads_choose_their_method(nets) -> None:
    assert Explainer(nets.red_against_green("mlp")).method == "gradcam"
    branching = Explainer(nets.branching())
    assert (branching.method, branching.layer_name) == ("hirescam", "both")
    assert Explainer(nets.branching(), layer_name="left").layer_name == "left"


def test_zero_map_stays_zero(nets) -> None:
    black = np.zeros((1, 12, 8, 3), np.uint8)
    for method in ("cam", "gradcam", "hirescam"):
        drawn = explain_images(nets.red_against_green(), black, method=method)
        np.testing.assert_array_equal(drawn, np.zeros((1, 12, 8), np.float32))


def test_signed_maps_are_divided_by_their_own_largest_value() -> None:
    maps = np.array([[[2.0, -4.0]], [[0.0, 0.0]], [[0.1, 0.2]]])
    np.testing.assert_allclose(normalise(maps), [[[0.5, -1.0]], [[0, 0]], [[0.5, 1.0]]])


def test_maps_keep_the_order_of_the_images_over_batches(nets) -> None:
    model, images = nets.branching(), nets.noise(5)
    together = explain_images(model, images, batch_size=2)
    alone = np.concatenate([explain_images(model, images[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert together.shape == (5, 12, 8)
    assert together.dtype == np.float32
    assert explain_images(model, images[:0]).shape == (0, 12, 8)


def test_resizing_keeps_places_and_sides() -> None:
    coarse = np.zeros((1, 2, 3), np.float32)
    coarse[0, 0, 2] = 1
    large = resize_maps(coarse, 20, 12)
    assert large.shape == (1, 20, 12)
    assert large[0, :4, 10:].min() > 0.95
    assert large[0, 16:].max() < 0.05


def test_model_in_bfloat16_gives_float32_maps(nets) -> None:
    images = nets.coloured()
    model = nets.red_against_green("mlp", dtype=keras.DTypePolicy("mixed_bfloat16"))
    assert model.get_layer("colour_conv").compute_dtype == "bfloat16"
    for method in ("gradcam", "hirescam"):
        drawn = explain_images(model, images, method=method)
        assert drawn.dtype == np.float32
        np.testing.assert_allclose(drawn, expected_fresh(images), atol=0.02)
    cam = nets.red_against_green(dtype=keras.DTypePolicy("mixed_bfloat16"))
    np.testing.assert_allclose(explain_images(cam, images), expected_fresh(images), atol=0.02)


def test_refusals_say_what_to_use(nets) -> None:
    images = nets.coloured()
    with pytest.raises(PosterMLError) as caught:
        explain_images(nets.red_against_green("flatten"), images, method="cam")
    assert str(caught.value) == (
        "method 'cam' needs a head of global average pooling and one linear unit, which this model does not have; "
        "use 'gradcam' or 'hirescam'"
    )
    with pytest.raises(
        PosterMLError, match="unknown map method 'lime'; use one of auto, cam, gradcam, hirescam"
    ):
        explain_images(nets.red_against_green(), images, method="lime")
    with pytest.raises(
        PosterMLError, match="method 'cam' is defined at layer 'colour_conv' only, got 'scale'"
    ):
        explain_images(nets.red_against_green(), images, method="cam", layer_name="scale")
    with pytest.raises(UnknownLayerError, match="name one of the layers with 4-D output: scale, colour_conv"):
        explain_images(nets.red_against_green(), images, layer_name="block5_conv3")
    with pytest.raises(ValueError, match="target=2"):
        explain_images(nets.red_against_green(), images, target=2)
    with pytest.raises(ValueError, match="batch_size=0"):
        explain_images(nets.red_against_green(), images, batch_size=0)


def test_network_without_convolution_is_refused() -> None:
    image = keras.Input((4, 4, 3), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    with pytest.raises(UnknownLayerError, match="no convolution-like layer"):
        Explainer(keras.Model(image, keras.layers.Dense(1)(flat)))
