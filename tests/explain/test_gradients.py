import numpy as np

from poster_ml.errors import UnknownLayerError
from poster_ml.explain.gradients import logit_and_gradient
from tests.refusals import refusal


def test_activations_gradients_and_logits_of_the_hand_made_network_are_exact(nets):
    images = nets.coloured()
    activations, gradients, logits = logit_and_gradient(nets.red_against_green(), "colour_conv")(images)
    assert activations.shape == gradients.shape == (2, 12, 8, 2)
    assert {activations.dtype, gradients.dtype, logits.dtype} == {np.dtype("float32")}
    np.testing.assert_allclose(activations, images[..., :2] / 255, atol=1e-6)
    np.testing.assert_allclose(gradients, np.broadcast_to([2 / 96, -2 / 96], gradients.shape), rtol=1e-6)
    np.testing.assert_allclose(logits, [0.25 + 2 * 12 / 96, 0.25 + 2 * (4 * 0.2 - 8) / 96], rtol=1e-6)


def test_gradient_at_a_branch_inside_frozen_layers_is_the_finite_difference(nets):
    model, images = nets.branching(), nets.noise(3)
    activations, gradients, logits = logit_and_gradient(model, "left_norm")(images)
    np.testing.assert_allclose(logits, model.predict(images, verbose=0)[:, 0], rtol=1e-4, atol=1e-5)
    # A step along the gradient of one channel, as a shift of the batch normalisation's bias.
    norm = model.get_layer("left_norm")
    weights = norm.get_weights()
    step = np.array([0, 1e-3, 0], np.float32)
    values = []
    for sign in (1, -1):
        norm.set_weights([weights[0], weights[1] + sign * step, *weights[2:]])
        values.append(model.predict(images, verbose=0)[:, 0])
    slope = (values[0] - values[1]) / 2e-3
    np.testing.assert_allclose(gradients[..., 1].sum(axis=(1, 2)), slope, rtol=0.02, atol=2e-3)
    assert np.abs(gradients).max() > 0
    assert activations.min() < 0  # before the ReLU


def test_dropout_rests_and_the_callers_model_stays_as_it_was(nets):
    model, images = nets.red_against_green(), nets.coloured()
    before = model.get_config()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    run = logit_and_gradient(model, "colour_conv")
    np.testing.assert_array_equal(run(images)[2], run(images)[2])
    assert model.get_config() == before
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes


def test_later_changes_of_the_weights_are_seen(nets):
    model, images = nets.red_against_green(), nets.coloured()
    run = logit_and_gradient(model, "colour_conv")
    first = run(images)[1]
    head = model.get_layer("logit")
    head.set_weights([3 * weight for weight in head.get_weights()])
    np.testing.assert_allclose(run(images)[1], 3 * first, rtol=1e-6)


def test_unknown_layer_lists_the_layers_with_4d_output(nets):
    said = refusal(UnknownLayerError, logit_and_gradient, nets.red_against_green(), "color_conv")
    assert said == (
        "no layer 'color_conv' with 4-D output (did you mean 'colour_conv'?); "
        "name one of the layers with 4-D output: scale, colour_conv"
    )
