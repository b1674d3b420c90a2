"""What a network is made of, as plain values: what a configuration says, without knowing configurations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Layers of a network, whatever its weights and whichever of them are trained.

    Attributes:
        family: a key of `FAMILIES`.
        input_shape: (H, W, 3).
        preprocessing: "backbone" for the scale that its weights were trained on, "unit" for pixels / 255.
        output_layer: name of the backbone's layer to take the output of; empty for its end.
        feature_layers: lower layers of the backbone whose channels, averaged over the places, join the
            pooled output (multi-level features).
        pooling: "flatten", "average" (global), or "average_maximum" for both beside each other.
        standardize: bring the pooled features to mean 0 and deviation 1 before the head; the statistics are
            set by whoever trains, see `StandardizeFeatures`.
        filters: channels of the convolutions, family cnn only.
        dense: units of the dense layers (ReLU) before the logit; may be empty.
        dropout: rate after each dense layer, in [0, 1).
        l2: penalty on the squares of the head's kernels, added to the loss; at least 0.
    """

    family: str
    input_shape: tuple[int, int, int]
    preprocessing: str = "backbone"
    output_layer: str = ""
    feature_layers: tuple[str, ...] = ()
    pooling: str = "flatten"
    standardize: bool = False
    filters: tuple[int, ...] = (16, 64, 128)
    dense: tuple[int, ...] = (512,)
    dropout: float = 0.0
    l2: float = 0.0
