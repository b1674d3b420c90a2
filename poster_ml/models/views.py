"""One network that looks at a poster several times and gives the mean of its logits."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

LAYER = "logit"


@keras.saving.register_keras_serializable(package="poster_ml")
class ViewAverage(keras.layers.Layer):
    """The mean over V views of a network's logit, one view after the other: memory is that of one.

    Args:
        network: Keras model, uint8 posters (B, H, W, 3) to one logit (B, 1); its layers are shared, not
            copied.
        views: a layer such as `augment.views.FixedViews`: posters and the number of a view to posters
            of the same shape, uint8; its `maps` has length V.

    Input: (B, H, W, 3) uint8. Output: (B, 1) float32. Nothing in it is trainable,
    the network's own layers included.
    """

    def __init__(self, network: Any, views: Any, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.network = network
        self.views = views

    def call(self, posters: Any) -> Any:
        """Returns the mean logits."""

        def look(view: Any) -> Any:
            return ops.cast(self.network(self.views(posters, view=view), training=False), "float32")

        return ops.mean(ops.map(look, ops.arange(len(self.views.maps))), axis=0)  # (V, B, 1) -> (B, 1)

    def compute_output_spec(self, posters: Any) -> Any:
        """Returns (B, 1) float32."""
        return keras.KerasTensor((posters.shape[0], 1), "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        parts = {"network": self.network, "views": self.views}
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(part) for name, part in parts.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ViewAverage:
        """Builds the layer with its network and its views."""
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("network", "views")}
        return cls(**{**config, **parts})


def build_view_average(network: Any, views: Any) -> Any:
    """Puts a layer that makes views before a trained network, and their mean behind it.

    Args:
        network, views: see `ViewAverage`.

    Returns: a model named `view_average`, input `poster` (B, H, W, 3) uint8, output `logit` (B, 1) float32.
        One forward pass costs V of the network's.
    """
    poster = keras.Input(network.input_shape[1:], dtype="uint8", name="poster")
    model = keras.Model(poster, ViewAverage(network, views, name=LAYER)(poster), name="view_average")
    model.trainable = False
    return model


def view_average(model: Any) -> ViewAverage | None:
    """Returns the layer of a network that averages over views; None for any other model."""
    return next((layer for layer in model.layers if isinstance(layer, ViewAverage)), None)
