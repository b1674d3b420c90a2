"""Several trained networks as one: the same poster in, the weighted sum of their logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

MEMBER = "member_"  # before the number of a nested network, from 1


def build_ensemble(members: Sequence[Any], weights: Sequence[float], bias: float = 0.0) -> Any:
    """Nests trained networks in one functional model.

    Averaging logits is averaging the evidence: for networks that are calibrated alike it is the geometric
    mean of their odds. The members keep their own preprocessing.

    Args:
        members: Keras models, uint8 posters (B, H, W, 3) to one logit (B, 1), of one input shape; their
            layers are shared, not copied.
        weights: one factor per member on its logit.
        bias: added to the sum.

    Returns: a model named `ensemble`, input `poster` (B, H, W, 3) uint8, output `logit` (B, 1) float32. Its
        layers `member_1`, `member_2`, ... are the networks. Nothing in it is trainable.
    """
    poster = keras.Input(members[0].input_shape[1:], dtype="uint8", name="poster")
    logits = [
        keras.Model(member.inputs[0], member.outputs[0], name=f"{MEMBER}{number}")(poster)
        for number, member in enumerate(members, start=1)
    ]  # each (B, 1)
    joined = keras.layers.Concatenate(name="member_logits", dtype="float32")(logits)  # (B, members)
    combine = keras.layers.Dense(1, name="logit", dtype="float32")
    model = keras.Model(poster, combine(joined), name="ensemble")
    combine.set_weights([np.array(weights, "float32")[:, None], np.array([bias], "float32")])
    model.trainable = False
    return model


def ensemble_members(model: Any) -> list[tuple[Any, float]]:
    """Returns the networks of an ensemble, each with the factor on its logit; nothing for any other model."""
    members = [
        layer for layer in model.layers if isinstance(layer, keras.Model) and layer.name.startswith(MEMBER)
    ]
    if not members:
        return []
    kernel = keras.ops.convert_to_numpy(model.get_layer("logit").kernel)[:, 0]  # (members,)
    ordered = sorted(members, key=lambda member: int(member.name.removeprefix(MEMBER)))
    return [(member, float(weight)) for member, weight in zip(ordered, kernel, strict=True)]
