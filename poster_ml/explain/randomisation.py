"""The model-randomisation check: a map that stays when the weights are redrawn never followed the model.

Source: Adebayo et al. 2018 (arXiv:1810.03292), cascading randomisation from the logit down.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from scipy.stats import rankdata

from poster_ml.evaluation.stats import mean_interval
from poster_ml.explain.maps import Explainer
from poster_ml.progress import progress
from poster_ml.seeding import generator

STAGES = 4  # from the top layer to all layers; each costs one map per poster


def randomisation_check(
    explainer: Explainer, images: np.ndarray, maps: np.ndarray, *, confidence: float = 0.95, seed: int
) -> list[dict[str, Any]]:
    """Compares a model's maps with those of its copy with more and more layers redrawn, from the top down.

    Args:
        explainer: of the model, which is read only; the weights are redrawn in a copy.
        images: (B, H, W, 3) uint8, B at least 1.
        maps: (B, H, W), the explainer's own.
        confidence: of the intervals, between 0 and 1.
        seed: of the new weights.

    Returns: one dict per stage: `layers` redrawn so far, `lowest_layer`, and the similarity to the true maps
        with intervals over posters: `spearman` of the signed values and `spearman_absolute` (where, whatever
        the sign). Near 1 at the last stage: the maps do not depend on the model; 0 is as it should be.
    """
    copy = keras.models.clone_model(explainer.model)
    copy.set_weights(explainer.model.get_weights())
    redrawn = Explainer(copy, method=explainer.method, layer_name=explainer.layer_name)
    layers = [layer for layer in reversed(copy.layers) if layer.weights]
    ends = sorted({max(1, round(len(layers) * stage / STAGES)) for stage in range(1, STAGES + 1)} | {1})
    results = []
    done = 0
    for end in progress(ends, "redrawing weights"):
        for layer in layers[done:end]:
            redraw(layer, seed)
        done = end
        record: dict[str, Any] = {"layers": end, "lowest_layer": str(layers[end - 1].name)}
        others = redrawn.explain(images)
        for name, pairs in (
            ("spearman", zip(maps, others, strict=True)),
            ("spearman_absolute", zip(np.abs(maps), np.abs(others), strict=True)),
        ):
            values = [spearman(one, other) for one, other in pairs]
            record[name] = mean_interval(values, confidence)[0].record(len(values))
        results.append(record)
    return results


def redraw(layer: keras.layers.Layer, seed: int) -> None:
    """Redraws a layer's weights in place: kernels from a normal of the same size, vectors shuffled.

    Shuffling keeps biases, batch-normalisation scales and variances in their range, so that the
    copy still answers.
    """
    weights = []
    for number, weight in enumerate(layer.get_weights()):
        draw = generator(seed, "redraw", str(layer.name), number)
        if weight.ndim >= 2:
            size = float(np.sqrt(np.mean(np.square(weight, dtype=np.float64))))
            weights.append(draw.normal(0, size, weight.shape).astype(weight.dtype))
        else:
            weights.append(draw.permutation(weight) if weight.ndim == 1 else weight)
    layer.set_weights(weights)


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation of two arrays; 0 where one of them is constant, which says nothing."""
    first, second = rankdata(one), rankdata(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
