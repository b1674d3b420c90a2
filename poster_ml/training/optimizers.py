"""Optimisers and learning rates, each a function of the settings and of what has happened so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from poster_ml.config import TrainConfig
from poster_ml.training.precision import has_gpu

OPTIMIZERS = {
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(settings: TrainConfig, model: Any, steps_per_epoch: int, epochs: int) -> Any:
    """Builds the optimiser of one training phase.

    Args:
        settings: learning rate, schedule, clipping, averaging, decay per layer.
        model: the network that will be trained; its trainable layers set the rates per layer.
        steps_per_epoch: batches per epoch, at least 1.
        epochs: length of the phase, for the cosine schedule.

    Returns: a Keras optimiser.
    """
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        warm_steps = min(settings.warmup_epochs, epochs - 1) * steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warm_steps else settings.learning_rate,
            decay_steps=max(1, epochs * steps_per_epoch - warm_steps),
            warmup_target=settings.learning_rate if warm_steps else None,
            warmup_steps=warm_steps,
        )
    arguments: dict[str, Any] = {"learning_rate": rate}
    if settings.optimizer == "sgd":
        arguments["momentum"] = 0.9
    if settings.weight_decay > 0:
        arguments["weight_decay"] = settings.weight_decay
    if settings.clip_norm > 0:
        arguments["global_clipnorm"] = settings.clip_norm
    if settings.ema_momentum > 0:
        arguments |= {"use_ema": True, "ema_momentum": settings.ema_momentum}
    kind = _fused(OPTIMIZERS[settings.optimizer])
    if settings.layer_rate_decay < 1.0:
        rates = layer_rates(model, settings.layer_rate_decay)
        return _layerwise(kind)(rates, **arguments)
    return kind(**arguments)


def layer_rates(model: Any, decay: float) -> dict[str, float]:
    """Gives every variable a factor on the learning rate: 1 in the head, `decay` less per convolution below.

    Args:
        model: Keras model; layers are taken from the output downwards.
        decay: in (0, 1].

    Returns: variable path -> factor in (0, 1].
    """
    rates: dict[str, float] = {}
    factor = 1.0
    for layer in reversed(model.layers):
        if "Conv" in type(layer).__name__ and layer.trainable_variables:
            factor *= decay
        for variable in layer.trainable_variables:
            rates[variable.path] = factor
    return rates


def _layerwise(kind: type) -> type:
    """Derives an optimiser that multiplies the rate by a factor per variable.

    Scaling gradients instead would do nothing: RMSprop and Adam divide by their size.
    """

    class LayerwiseOptimizer(kind):
        def __init__(self, rates: Mapping[str, float], **arguments: Any) -> None:
            super().__init__(**arguments)
            self._rates = dict(rates)

        def build(self, variables: Sequence[Any]) -> None:
            # TensorFlow hands the variable inside Keras' one to `update_step`, the other backends Keras' own.
            self._factors = {
                id(known): self._rates.get(variable.path, 1.0)
                for variable in variables
                for known in (variable, variable.value)
            }
            super().build(variables)

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
            return super().update_step(gradient, variable, learning_rate * self._factors[id(variable)])

    LayerwiseOptimizer.__name__ = f"Layerwise{kind.__name__}"
    return LayerwiseOptimizer


def _fused(kind: type) -> type:
    """Derives an optimiser that updates a variable in one pass, on TensorFlow without a GPU.

    Keras writes an update as a chain of elementwise operations, and each of them reads and writes as much as
    the variable holds: 44 million weights in the dense layer of the small networks. XLA makes one loop of the
    chain (`benchmarks/optimizer.py`). The convolutions stay outside of it: oneDNN's are faster than XLA's.
    """
    if keras.backend.backend() != "tensorflow" or has_gpu():
        return kind
    import tensorflow as tf

    class FusedOptimizer(kind):
        def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
            if not self.built:
                self.build(trainable_variables)

            @tf.function(jit_compile=True)
            def update(gradients: Sequence[Any]) -> None:
                super(FusedOptimizer, self).apply(gradients, trainable_variables)

            update(list(grads))

    FusedOptimizer.__name__ = kind.__name__
    return FusedOptimizer


def plateau_rate(settings: TrainConfig, losses: Sequence[float]) -> float:
    """Learning rate of the next epoch under `schedule: plateau`.

    The rate is multiplied by `plateau_factor` whenever the validation loss has not fallen for
    `plateau_patience` epochs; the count starts anew after each cut. A function of the past alone,
    so a resumed run continues with the rate it would have had.
    """
    rate, best, waited = settings.learning_rate, float("inf"), 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= settings.plateau_patience:
            rate, waited = rate * settings.plateau_factor, 0
    return rate
