"""Do the maps follow the model? Measured against maps that know nothing.

Sources: deletion and insertion: Petsiuk et al. 2018 (arXiv:1806.07421); ROAD: Rong et al. 2022
(arXiv:2202.00449); model randomisation: Adebayo et al. 2018 (arXiv:1810.03292).

Cost in forward passes per poster, with M = 4 maps (the model's and three controls) and S steps:
3 + M * (2 * (S - 1) + 2 * 3), that is 83 with the default S = 8; and six maps (forward and part of
the way back): the model's and five in the randomisation check. The changed forms of several posters go
through the network together, so that its batches are full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.special import expit

from poster_ml.evaluation.stats import holm, mean_interval
from poster_ml.explain.gradients import BATCH_SIZE, padded_batches
from poster_ml.explain.maps import Explainer, normalise
from poster_ml.explain.pointing import centre_map
from poster_ml.explain.randomisation import randomisation_check
from poster_ml.explain.removal import blurred, impute, luminance, mean_grey, rank_places, replace, top_mask
from poster_ml.progress import progress
from poster_ml.seeding import derive_seed, generator

ROAD_SHARES = (0.2, 0.4, 0.6)
SIGNS = {"deletion": -1, "insertion": 1, "road": 1}  # of each score: which way is better
_RANDOM_GRID = 7  # places a side, as coarse as the maps of the backbones at 224 pixels
Predict = Callable[[np.ndarray], np.ndarray]


def measure_faithfulness(
    explainer: Explainer,
    images: np.ndarray,
    *,
    threshold: float = 0.5,
    confidence: float = 0.95,
    seed: int = 0,
    steps: int = 8,
) -> dict[str, Any]:
    """Measures whether a model's maps show what the model uses.

    For each poster the map speaks for the predicted class. Its score is always the probability of that class:
    `deletion`, mean while the highest places give way to grey (lower is better); `insertion`, mean
    while they come back into the blurred poster (higher is better); `road`, how much more is lost when the
    highest places are imputed than when the lowest are (higher is better; 0 for a map that knows nothing).

    Args:
        explainer: of a model with one logit (B, 1), which is read only.
        images: (N, H, W, 3) uint8, N at least 1, H and W at least 7.
        threshold: in [0, 1]; Fresh is predicted from this probability on (the sigmoid of the model's logit).
        confidence: of the intervals, between 0 and 1.
        seed: of random maps, ties, noise and new weights.
        steps: of the deletion and insertion curves, at least 2.

    Returns: a dict for JSON: `settings`; `scores[map][score]` with mean and interval over posters;
        `against[control][score]`: the paired advantage of the model's map, positive where it is
        better, with `p_holm`, corrected over all controls and scores, and `better`, whether it is
        so significantly; `randomisation`: one entry per stage.
    """
    predict = probability_function(explainer.model)
    model_maps = draw_maps(explainer, images)
    shown = (images, np.stack([*map(mean_grey, images)]), np.stack([*map(blurred, images)]))
    ends = np.stack([predict(pictures) for pictures in shown], axis=1)
    sides = np.where(ends[:, 0] >= threshold, 1, -1)  # which class each map has to speak for
    maps = {"model": model_maps * sides[:, None, None], **control_maps(images, seed)}
    values = {
        name: _removal_scores(predict, images, saliency, sides, ends, steps, seed)
        for name, saliency in maps.items()
    }
    return {
        "settings": {
            "method": explainer.method,
            "layer_name": explainer.layer_name,
            "posters": len(images),
            "steps": steps,
            "road_shares": list(ROAD_SHARES),
            "confidence": confidence,
            "seed": seed,
        },
        "scores": {
            name: {score: mean_interval(one[score], confidence)[0].record(len(images)) for score in SIGNS}
            for name, one in values.items()
        },
        "against": _advantages(values, confidence),
        "randomisation": randomisation_check(explainer, images, model_maps, confidence=confidence, seed=seed),
    }


def control_maps(images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Draws all controls of posters (B, H, W, 3) uint8: name -> (B, H, W) float32 in [0, 1].

    `random`: noise as coarse as a real map; it depends on the seed and the row only. `edge`: Sobel
    magnitude of the luminance, smoothed to the coarseness of a map. `centre`: as `centre_map`.
    """
    height, width = images.shape[1:3]
    grey = luminance(images)
    edges = np.hypot(ndimage.sobel(grey, axis=2), ndimage.sobel(grey, axis=1))
    sigma = max(height, width) / (4 * _RANDOM_GRID)
    return {
        "random": normalise(np.stack([_noise(row, height, width, seed) for row in range(len(images))])),
        "edge": normalise(ndimage.gaussian_filter(edges, (0, sigma, sigma))),
        "centre": np.repeat(centre_map(height, width)[None], len(images), axis=0),
    }


def probability_function(model: keras.Model, temperature: float = 1.0) -> Predict:
    """Returns a function (B, H, W, 3) uint8 -> (B,) probability of Fresh, float64, in inference mode.

    The logit is divided by `temperature` (above 0) first.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        logits = [
            np.asarray(model.predict_on_batch(chunk), np.float64)[:count, 0]
            for chunk, count in _shown_batches(images, "scoring batches")
        ]
        return np.asarray(expit(np.concatenate(logits) / temperature))

    return predict


def draw_maps(explainer: Explainer, images: np.ndarray) -> np.ndarray:
    """Draws one map per image as `Explainer.explain`, which is for few, and says how far it is."""
    batches = _shown_batches(images, "drawing maps")
    return np.concatenate([explainer.explain(chunk)[:count] for chunk, count in batches])


def _shown_batches(images: np.ndarray, description: str) -> Iterator[tuple[np.ndarray, int]]:
    total = math.ceil(len(images) / BATCH_SIZE)
    return progress(padded_batches(images), description, total=total, brief=True)


def _removal_scores(
    predict: Predict,
    images: np.ndarray,
    saliency: np.ndarray,
    sides: np.ndarray,
    ends: np.ndarray,
    steps: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Scores maps (N, H, W), higher for what is more important: each of `SIGNS` (N,).

    The probability of a class (`sides`: 1 Fresh, -1 Rotten) is followed while parts of the posters go or
    come; `ends` (N, 3) is that of Fresh of the whole poster, of its mean grey and of its blurred form.
    """
    parts = [steps - 1, steps - 1, len(ROAD_SHARES), len(ROAD_SHARES)]
    together = BATCH_SIZE // math.gcd(sum(parts), BATCH_SIZE)  # posters whose changed forms fill batches
    answers = []
    for start in progress(range(0, len(images), together), "removing parts"):
        rows = range(start, min(start + together, len(images)))
        changed = [
            _changed(images[row], saliency[row], steps, derive_seed(seed, "removal", row)) for row in rows
        ]
        answers.append(predict(np.concatenate(changed)))
    of_class = np.concatenate(answers).reshape(len(images), -1)  # (N, changed forms)
    of_class, ends = (np.where(sides[:, None] < 0, 1 - fresh, fresh) for fresh in (of_class, ends))
    gone, come, most, least = np.split(of_class, np.cumsum(parts)[:-1], axis=1)
    whole, bare, dim = ends.T
    return {
        "deletion": _area(np.column_stack([whole, gone, bare])),
        "insertion": _area(np.column_stack([dim, come, whole])),
        "road": (least - most).mean(axis=1),
    }


def _changed(image: np.ndarray, saliency: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """Returns a poster with its highest places gone, come, imputed, and with the lowest imputed."""
    ranks = rank_places(saliency, seed)
    masks = [top_mask(ranks, share) for share in np.linspace(0, 1, steps + 1)[1:-1]]
    grey, blur = mean_grey(image), blurred(image)
    gone = [replace(image, mask, grey) for mask in masks]
    come = [replace(blur, mask, image) for mask in masks]
    imputed = [
        impute(image, top_mask(order, share), seed)
        for order in (ranks, ranks.size - 1 - ranks)
        for share in ROAD_SHARES
    ]
    return np.stack([*gone, *come, *imputed])


def _area(curves: np.ndarray) -> np.ndarray:
    """The areas (N,) under curves (N, points) of steps of equal width, from 0 to 1, by trapezoids."""
    return np.asarray((curves[:, 1:] + curves[:, :-1]).mean(axis=1) / 2)


def _advantages(
    values: dict[str, dict[str, np.ndarray]], confidence: float
) -> dict[str, dict[str, dict[str, float]]]:
    """How much better the model's map is than each control; all of them and all scores are one family."""
    asked = [(control, score) for control in values if control != "model" for score in SIGNS]
    tested = [
        mean_interval(SIGNS[score] * (values["model"][score] - values[control][score]), confidence)
        for control, score in asked
    ]
    found: dict[str, dict[str, dict[str, float]]] = {control: {} for control, _ in asked}
    corrected = holm([p_value for _, p_value in tested]).tolist()
    for (control, score), (interval, _), p_holm in zip(asked, tested, corrected, strict=True):
        better = interval.estimate > 0 and p_holm < 1.0 - confidence
        count = len(values["model"][score])
        found[control][score] = interval.record(count) | {"p_holm": p_holm, "better": better}
    return found


def _noise(row: int, height: int, width: int, seed: int) -> np.ndarray:
    grid = generator(seed, "random map", row).random((_RANDOM_GRID, _RANDOM_GRID)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BILINEAR))
