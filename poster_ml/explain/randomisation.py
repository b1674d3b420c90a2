"""The model-randomisation check: a map that stays when the model's weights are redrawn never followed the
model.

Source: Adebayo et al. 2018 (arXiv:1810.03292), cascading randomisation from the logit down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from scipy.stats import rankdata
from skimage.metrics import structural_similarity

from poster_ml.evaluation.stats import mean_interval
from poster_ml.progress import progress
from poster_ml.seeding import generator

MapFunction = Callable[[keras.Model, np.ndarray], np.ndarray]


def randomisation_check(
    model: keras.Model,
    images: np.ndarray,
    explain: MapFunction,
    *,
    confidence: float = 0.95,
    seed: int,
    stages: int = 4,
) -> list[dict[str, Any]]:
    """Compares a model's maps with those of its copy with more and more layers redrawn, from the top down.

    Args:
        model: read only; the weights are redrawn in a copy.
        images: (B, H, W, 3) uint8, B at least 1.
        explain: (model, images) -> (B, H, W) signed maps in [-1, 1].
        confidence: of the intervals, between 0 and 1.
        seed: of the new weights.
        stages: steps from the top layer to all layers, at least 1; each costs one map per poster.

    Returns: one dict per stage: `layers` redrawn so far, `lowest_layer`, and the similarity to the true maps
        with intervals over posters: `spearman` of the signed values, `spearman_absolute` (where, whatever the
        sign) and `ssim`. Near 1 at the last stage: the maps do not depend on the model; 0 is as it should be.
    Raises: ValueError for less than one stage or poster.
    """
    if stages < 1 or len(images) == 0:
        raise ValueError(f"at least one stage and one image are needed, got {stages=}, {len(images)=}")
    original = explain(model, images)
    copy = copy_model(model)
    layers = [layer for layer in reversed(copy.layers) if layer.weights]
    ends = sorted({max(1, round(len(layers) * stage / stages)) for stage in range(1, stages + 1)} | {1})
    results = []
    done = 0
    for end in progress(ends, "redrawing weights"):
        for layer in layers[done:end]:
            redraw(layer, seed)
        done = end
        results.append(
            {
                "layers": end,
                "lowest_layer": str(layers[end - 1].name),
                **_similarities(original, explain(copy, images), confidence),
            }
        )
    return results


def copy_model(model: keras.Model) -> keras.Model:
    """Returns a copy with its own layers and the same weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def redraw(layer: keras.layers.Layer, seed: int) -> None:
    """Redraws a layer's weights in place: kernels from a normal of the same size, vectors shuffled.

    Shuffling keeps biases, batch-normalisation scales and variances in their range, so that the copy still
    answers.
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


def map_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """SSIM of two (H, W) maps in [-1, 1]; the window shrinks with small maps."""
    window = min(7, *one.shape)
    window -= 1 - window % 2
    if window < 3:
        return float(np.array_equal(one, other))
    return float(structural_similarity(one, other, data_range=2.0, win_size=window))


def _similarities(original: np.ndarray, changed: np.ndarray, confidence: float) -> dict[str, Any]:
    pairs = list(zip(original, changed, strict=True))
    measured = {
        "spearman": [spearman(one, other) for one, other in pairs],
        "spearman_absolute": [spearman(np.abs(one), np.abs(other)) for one, other in pairs],
        "ssim": [map_similarity(one, other) for one, other in pairs],
    }
    return {
        name: mean_interval(values, confidence)[0].record(len(values)) for name, values in measured.items()
    }
