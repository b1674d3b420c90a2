"""What a network makes of a poster just before it decides: features in which alike posters lie close."""

from __future__ import annotations

import keras
import numpy as np

from poster_ml.explain.graph import default_layer, find_layer
from poster_ml.models.ensemble import ensemble_members


class PooledFeatures:
    """The last convolution's output, averaged over the places of the poster.

    Args:
        model: uint8 (B, H, W, 3) to logit (B, 1); read only. Of an ensemble the features of all members, each
            of length 1, stand side by side.
        layer_name: a layer with output (B, h, w, K); "" takes the last convolution-like one.

    Raises: UnknownLayerError, listing the layers with 4-D output.
    """

    def __init__(self, model: keras.Model, layer_name: str = "") -> None:
        members = [member for member, _ in ensemble_members(model)]
        self._networks = [_pooled(member, "") for member in members] or [_pooled(model, layer_name)]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Takes (B, H, W, 3) uint8, at most a batch; returns (B, K) float32."""
        parts = [np.asarray(network.predict_on_batch(images), np.float32) for network in self._networks]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(
            [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts], 1
        )


def _pooled(model: keras.Model, layer_name: str) -> keras.Model:
    layer = find_layer(model, layer_name or default_layer(model))
    return keras.Model(model.inputs[0], keras.layers.GlobalAveragePooling2D(dtype="float32")(layer.output))
