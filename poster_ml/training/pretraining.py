"""A first lesson: the network learns what the table says of a movie, before it learns the label.

The layers below the logit are trained to predict genre and year from the poster, with a linear layer in the
logit's place that is thrown away afterwards. More is known of every poster than one bit, and what makes a
horror film look like one may help to tell how it was received.
"""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np

from poster_ml.config import TrainConfig
from poster_ml.errors import ConfigError
from poster_ml.models import graph
from poster_ml.training.batches import Batches, Samples
from poster_ml.training.fit import reset_draws
from poster_ml.training.optimizers import build_optimizer

logger = logging.getLogger(__name__)


def pretrain(
    model: Any, samples: Samples, targets: np.ndarray, settings: TrainConfig, seed: int
) -> list[float]:
    """Trains everything trainable below the logit, in place, to predict targets.

    Args:
        model: Keras model with one logit (B, 1), its layers frozen as they will be trained.
        samples: training posters or their features; their labels are not looked at.
        targets: (n, T) float32, in the order of the samples, mean 0 and deviation 1 per column.
        settings: `pretrain_epochs`, optimiser, rate, batch size.
        seed: of order and dropout.

    Returns: mean squared error of every epoch (1 is what guessing the mean gets).

    Raises: ConfigError where nothing below the logit is trained, so that nothing would be kept.
    """
    body = keras.Model(model.input, graph.input_tensor(model, "logit"))
    if not body.trainable_variables:
        raise ConfigError(
            [
                "train.pretrain_epochs needs something to train below the logit: give model.dense=[128] "
                "or model.unfreeze, or set train.pretrain_epochs=0"
            ]
        )
    initializer = keras.initializers.GlorotUniform(seed)
    output = keras.layers.Dense(
        targets.shape[1], kernel_initializer=initializer, dtype="float32", name="targets"
    )(body.output)
    pupil = keras.Model(model.input, output)
    lessons = Samples(samples.images, samples.rows, targets, samples.views, samples.stride)
    batches = Batches(lessons, settings.batch_size, seed)
    epochs = settings.pretrain_epochs
    pupil.compile(build_optimizer(settings, pupil, len(batches), epochs), "mse", jit_compile=False)
    errors: list[float] = []
    for epoch in range(epochs):
        reset_draws(pupil, seed, -1 - epoch)  # draws of their own, none that the training proper will see
        batches.set_epoch(epoch)
        history = pupil.fit(batches, epochs=1, shuffle=False, verbose=0).history
        errors.append(float(history["loss"][0]))
        logger.info(f"lesson {epoch + 1:>3}/{epochs}  error of genre and year {errors[-1]:.4f} (1: guessing)")
    return errors
