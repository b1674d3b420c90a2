import keras
import numpy as np
import pytest

from poster_ml.errors import PosterMLError, UnknownLayerError
from poster_ml.explain.maps import Explainer


def expected_fresh(images: np.ndarray) -> np.ndarray:
    """Red minus green, divided by its own largest absolute value."""
    difference = (images[..., 0].astype(np.float32) - images[..., 1]) / 255
    return difference / np.abs(difference).max(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize(
    ("head", "method"),
    [("gap", "cam"), *((head, way) for head in ("gap", "mlp") for way in ("auto", "gradcam", "hirescam"))],
)
def test_map_of_the_hand_made_network_is_exact_for_both_classes(nets, head, method):
    model, images = nets.red_against_green(head), nets.coloured()
    found = Explainer(model, method=method).explain(images)
    np.testing.assert_allclose(found, expected_fresh(images), atol=1e-6)


def test_flatten_head_gets_hirescam_which_keeps_the_places(nets):
    images = np.zeros((1, 12, 8, 3), np.uint8)
    images[0, 2:5, :3, 0] = images[0, 2:5, 5:, 0] = 255  # red on both sides; only the left half counts
    model = nets.red_against_green("flatten")
    explainer = Explainer(model)
    assert explainer.method == "hirescam"
    faithful = explainer.explain(images)[0]
    assert faithful[2:5, :3].min() == 1
    assert np.abs(faithful[:, 4:]).max() == 0
    averaged = Explainer(model, method="gradcam").explain(images)[0]
    assert averaged[2:5, 5:].min() > 0.9  # the reason why "auto" does not take Grad-CAM here


def test_zero_map_stays_zero(nets):
    black = np.zeros((1, 12, 8, 3), np.uint8)
    for method in ("cam", "gradcam", "hirescam"):
        drawn = Explainer(nets.red_against_green(), method=method).explain(black)
        np.testing.assert_array_equal(drawn, np.zeros((1, 12, 8), np.float32))


def test_maps_keep_the_order_of_the_images_over_batches(nets):
    explain, images = Explainer(nets.branching()).explain, nets.noise(18)  # one full batch and a short one
    together = explain(images)
    alone = np.concatenate([explain(images[i : i + 6]) for i in (0, 6, 12)])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert (together.shape, together.dtype) == ((18, 12, 8), np.float32)
    assert explain(images[:0]).shape == (0, 12, 8)


def test_model_in_bfloat16_gives_float32_maps(nets):
    images = nets.coloured()
    model = nets.red_against_green("mlp", dtype=keras.DTypePolicy("mixed_bfloat16"))
    assert model.get_layer("colour_conv").compute_dtype == "bfloat16"
    cam = nets.red_against_green(dtype=keras.DTypePolicy("mixed_bfloat16"))
    for network, method in ((model, "gradcam"), (model, "hirescam"), (cam, "cam")):
        drawn = Explainer(network, method=method).explain(images)
        assert drawn.dtype == np.float32
        np.testing.assert_allclose(drawn, expected_fresh(images), atol=0.02)


@pytest.mark.parametrize(
    ("head", "options", "said"),
    [
        ("flatten", {"method": "cam"}, r"'cam' needs .* \(this model has no such head\); use 'gradcam'"),
        ("gap", {"method": "lime"}, "unknown map method 'lime'; use one of auto, cam, gradcam, hirescam"),
        ("gap", {"method": "cam", "layer_name": "scale"}, r"the layer that is pooled \(colour_conv\)"),
    ],
)
def test_refusals_say_what_to_use(nets, head, options, said):
    with pytest.raises(PosterMLError, match=said):
        Explainer(nets.red_against_green(head), **options).explain(nets.coloured())


def test_network_without_convolution_is_refused():
    image = keras.Input((4, 4, 3), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    with pytest.raises(UnknownLayerError, match="no convolution-like layer"):
        Explainer(keras.Model(image, keras.layers.Dense(1)(flat)))
