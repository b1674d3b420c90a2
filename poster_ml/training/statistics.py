"""Statistics of the training posters' features, for the layers that need them before the first epoch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from poster_ml.models.graph import input_tensor
from poster_ml.models.standardize import StandardizeFeatures
from poster_ml.progress import progress
from poster_ml.training.batches import Batches, Samples, iterate, predict_padded


def set_statistics(model: Any, train: Samples, batch_size: int = 64) -> None:
    """Gives every `StandardizeFeatures` layer mean and deviation of what the training posters bring it.

    Args:
        model: the network, or the part above a frozen prefix; changed in place. Without such a layer
            nothing is computed.
        train: posters, or the prefix's output; of several views the first one counts.
        batch_size: samples per pass, at least 1.
    """
    for layer in model.layers:
        if not isinstance(layer, StandardizeFeatures):
            continue
        source = input_tensor(model, layer.name)
        # Cached features may be just what the layer gets: there is nothing below it then.
        below = None if source is model.input else keras.Model(model.input, source)
        size = min(batch_size, len(train))
        batches = Batches(train, size)
        parts = [
            np.asarray(batch if below is None else predict_padded(below, batch, size), "float32")
            for batch, _ in progress(iterate(batches), "measuring features", total=len(batches), brief=True)
        ]
        layer.set_statistics(np.concatenate(parts))
