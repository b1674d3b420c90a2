"""Features brought to mean 0 and deviation 1, as a layer that travels with the network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

CONSTANT = 1e-6  # a feature that varies less than this is left at its size: it is a dead channel


@keras.saving.register_keras_serializable(package="poster_ml")
class StandardizeFeatures(keras.layers.Layer):
    """Subtracts a stored mean and divides by a stored deviation, feature by feature.

    Pooled features of a backbone differ in size by orders of magnitude. Without this, one learning
    rate and one weight decay mean something else for every feature, and a linear head stops far
    from its optimum. The statistics are no weights to train: `set_statistics` gives them, once,
    from the training posters. Computes in float32 under every precision policy.

    Input: (B, K) float. Output: (B, K) float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Takes what every Keras layer takes; until `set_statistics` it changes nothing."""
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes room for the statistics of K features."""
        count = (input_shape[-1],)
        self.mean = self.add_weight(shape=count, initializer="zeros", trainable=False, name="mean")
        self.deviation = self.add_weight(shape=count, initializer="ones", trainable=False, name="deviation")

    def set_statistics(self, features: np.ndarray) -> None:
        """Takes mean and deviation from the features of the training posters (n, K), n at least 2.

        Raises: ValueError with the shape received.
        """
        expected = tuple(self.mean.shape)
        if features.ndim != 2 or features.shape[1:] != expected or len(features) < 2:
            raise ValueError(f"features must be (n >= 2, {expected[0]}), got {features.shape=}")
        values = features.astype("float64")
        deviation = values.std(axis=0)
        self.mean.assign(values.mean(axis=0).astype("float32"))
        self.deviation.assign(np.where(deviation < CONSTANT, 1.0, deviation).astype("float32"))

    def call(self, features: Any) -> Any:
        """Maps (B, K) to (B, K)."""
        return (features - self.mean) / self.deviation

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the input's shape."""
        return input_shape
