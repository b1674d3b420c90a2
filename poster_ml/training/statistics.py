"""Statistics of the training posters' features, for the layers that need them before the first epoch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from poster_ml.models.graph import parents
from poster_ml.models.standardize import StandardizeFeatures
from poster_ml.progress import progress
from poster_ml.training.batches import Batches, Samples, iterate, predict_padded


def set_statistics(network: Any, train: Samples, cut: str = "", batch_size: int = 64) -> None:
    """Gives every `StandardizeFeatures` layer mean and deviation of what the training posters bring it.

    Args:
        network: the whole network; changed in place. Without such a layer nothing is computed.
        train: posters, or the output of the layer `cut`; of several views the first one counts.
        cut: name of a layer below the standardisation; empty where `train` holds posters.
        batch_size: samples per pass, at least 1.
    """
    for layer in network.layers:
        if not isinstance(layer, StandardizeFeatures):
            continue
        (source,) = parents(network)[layer.name]
        below = None  # cached features may be just what the layer gets
        if source != cut:
            start = network.get_layer(cut).output if cut else network.input
            below = keras.Model(start, network.get_layer(source).output)
        size = min(batch_size, len(train))
        batches = Batches(train, size)
        parts = [
            np.asarray(batch if below is None else predict_padded(below, batch, size), "float32")
            for batch, _ in progress(iterate(batches), "measuring features", total=len(batches), brief=True)
        ]
        layer.set_statistics(np.concatenate(parts))
