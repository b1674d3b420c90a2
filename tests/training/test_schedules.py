"""Rates, stops and choices are functions of the past alone."""

import keras
import numpy as np
import pytest

from poster_ml.config import TrainConfig
from poster_ml.training import optimizers, precision
from poster_ml.training.optimizers import build_optimizer, plateau_rate
from poster_ml.training.precision import resolve_precision
from poster_ml.training.selection import best_epoch, should_stop
from tests.training.networks import tiny_network

NAN = float("nan")


def history(*values, name="val_auc"):
    return [{name: value} for value in values]


@pytest.mark.parametrize(
    ("values", "monitor", "best"),
    [
        ((0.5, 0.7, 0.7, 0.6), "val_auc", 1),  # the first of equally good ones
        ((0.5, 0.3, 0.4), "val_loss", 1),  # losses are better when lower
        ((NAN, 0.4, NAN), "val_auc", 1),  # NaN never wins
        ((NAN, NAN), "val_auc", 1),
    ],
)
def test_the_best_epoch_is_kept(values, monitor, best):
    assert best_epoch(history(*values, name=monitor), monitor) == best


@pytest.mark.parametrize(
    ("values", "patience", "warm_up", "stop"),
    [
        ((0.5, 0.6, 0.6), 2, 0, False), ((0.6, 0.5, 0.6), 2, 0, True), ((0.6, 0.5, 0.5), 0, 0, False),
        ((), 1, 0, False), ((0.9, 0.5, 0.5, 0.5), 3, 2, False), ((0.9, 0.5, 0.5, 0.5, 0.5), 3, 2, True),
    ],
)  # fmt: skip
def test_it_stops_after_patience_epochs_without_a_rise_that_the_warm_up_is_none_of(
    values, patience, warm_up, stop
):
    assert should_stop(history(*values), "val_auc", patience, warmup_epochs=warm_up) is stop


def test_the_rate_falls_when_the_loss_has_not_fallen_and_waits_anew():
    settings = TrainConfig(learning_rate=1.0, schedule="plateau", plateau_patience=2, plateau_factor=0.1)
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.92, 0.5]
    rates = [plateau_rate(settings, losses[:count]) for count in range(len(losses) + 1)]
    np.testing.assert_allclose(rates, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_cosine_rises_to_the_rate_and_falls_to_nothing():
    settings = TrainConfig(learning_rate=0.1, schedule="cosine", warmup_epochs=2)
    optimizer = build_optimizer(settings, tiny_network(), steps_per_epoch=10, epochs=6)
    values = []
    for step in (0, 10, 20, 40, 60):
        optimizer.iterations.assign(step)
        values.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    np.testing.assert_allclose(values, [0.0, 0.05, 0.1, 0.05, 0.0], atol=1e-6)


def test_clipping_decay_and_averaging_reach_the_optimizer():
    settings = TrainConfig(optimizer="adamw", weight_decay=0.02, clip_norm=0.5, ema_momentum=0.9)
    optimizer = build_optimizer(settings, tiny_network(), 10, 2)
    assert (optimizer.weight_decay, optimizer.global_clipnorm) == (0.02, 0.5)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)


def convolutional():
    inputs = keras.Input((8, 8, 1))
    values = keras.layers.Conv2D(1, 3, name="low")(inputs)
    values = keras.layers.Conv2D(1, 3, name="high")(values)
    values = keras.layers.Flatten()(values)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(values))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_rates_per_layer_scale_the_steps_themselves(name):
    def kernels_after_a_step(decay):
        keras.utils.set_random_seed(0)
        model = convolutional()
        settings = TrainConfig(optimizer=name, learning_rate=0.01, layer_rate_decay=decay)
        model.compile(build_optimizer(settings, model, 1, 1), loss="mse")
        before = {layer.name: layer.get_weights()[0] for layer in model.layers if layer.get_weights()}
        model.train_on_batch(np.ones((2, 8, 8, 1), "float32"), np.ones((2, 1), "float32"))
        return {name: model.get_layer(name).get_weights()[0] - kernel for name, kernel in before.items()}

    full, scaled = kernels_after_a_step(1.0), kernels_after_a_step(0.5)
    np.testing.assert_allclose(scaled["logit"], full["logit"], rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(scaled["high"], 0.5 * full["high"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(scaled["low"], 0.25 * full["low"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("fast", "gpu", "usual", "depthwise"),
    [
        (True, False, "mixed_bfloat16", "float32"),
        (True, True, "mixed_bfloat16", "mixed_bfloat16"),
        (False, False, "float32", "float32"),
    ],
)
def test_auto_knows_that_processors_have_no_fast_depthwise_bfloat16(monkeypatch, fast, gpu, usual, depthwise):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: fast)
    monkeypatch.setattr(precision, "has_gpu", lambda: gpu)
    assert resolve_precision("auto") == usual
    assert resolve_precision("auto", depthwise=True) == depthwise
    assert resolve_precision("mixed_bfloat16", depthwise=True) == "mixed_bfloat16"  # asked for is taken


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="one pass is for TensorFlow's CPU backend"
)
@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw", "sgd"])
def test_updates_in_one_pass_are_those_of_keras(name, monkeypatch):
    settings = TrainConfig(
        optimizer=name, learning_rate=1e-2, weight_decay=0.01, clip_norm=1.0, ema_momentum=0.9
    )
    numbers = np.random.default_rng(0)
    images = numbers.normal(size=(6, 4)).astype("float32")
    labels = numbers.integers(0, 2, (6, 1)).astype("float32")

    def weights_after_four_steps():
        keras.utils.set_random_seed(5)
        model = tiny_network()
        optimizer = build_optimizer(settings, model, 2, 2)
        model.compile(optimizer=optimizer, loss=keras.losses.BinaryCrossentropy(from_logits=True))
        for _ in range(4):
            model.train_on_batch(images, labels)
        return type(optimizer), [np.array(value) for value in model.get_weights()]

    one_pass, found = weights_after_four_steps()
    monkeypatch.setattr(optimizers, "_fused", lambda kind: kind)
    own, expected = weights_after_four_steps()
    assert one_pass is not own
    assert issubclass(one_pass, own)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6)
