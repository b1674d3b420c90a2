"""What a network makes of a poster just before it decides: features in which alike posters lie close."""

from __future__ import annotations

import keras
import numpy as np

from poster_ml.errors import UnknownLayerError
from poster_ml.explain.graph import picture_layers
from poster_ml.models.ensemble import ensemble_members


class PooledFeatures:
    """The last layer's output that still has places, averaged over the places of the poster.

    Args:
        model: uint8 (B, H, W, 3) to logit (B, 1); read only. Of an ensemble the features of all
            members, each of length 1, stand side by side.

    Raises: UnknownLayerError where no layer has places.
    """

    def __init__(self, model: keras.Model) -> None:
        members = [member for member, _ in ensemble_members(model)] or [model]
        self._networks = [pooled_network(member) for member in members]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Takes (B, H, W, 3) uint8, at most a batch; returns (B, K) float32."""
        parts = [np.asarray(network.predict_on_batch(images), np.float32) for network in self._networks]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(
            [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts], 1
        )


def last_map(model: keras.Model) -> keras.layers.Layer:
    """Returns the last layer with output (B, h, w, K), also where that is one of pooling.

    Raises: UnknownLayerError where there is none.
    """
    layers = picture_layers(model)
    if not layers:
        raise UnknownLayerError("the model has no layer with 4-D output, so its posters have no neighbours")
    return layers[-1]


def pooled_network(model: keras.Model) -> keras.Model:
    """Returns the network from posters to the means (B, K) float32 of its last map; it shares the layers."""
    output = last_map(model).output
    return keras.Model(model.inputs[0], keras.layers.GlobalAveragePooling2D(dtype="float32")(output))
