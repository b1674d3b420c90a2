"""Do the maps follow the model? Measured against maps that know nothing.

Sources: deletion and insertion: Petsiuk et al. 2018 (arXiv:1806.07421); ROAD: Rong et al. 2022
(arXiv:2202.00449); model randomisation: Adebayo et al. 2018 (arXiv:1810.03292).

Cost in forward passes per poster, with M = 4 maps (the model's and three controls) and S steps:
3 + M * (2 * (S - 1) + 2 * 3), that is 83 with the default S = 8; and seven maps (forward and part of the way
back): one to start with, six in the randomisation check. At 6 posters a second (VGG-16 on two CPU cores)
16 posters take about four minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from scipy.special import expit

from poster_ml.evaluation.stats import holm, mean_interval
from poster_ml.explain.controls import control_maps
from poster_ml.explain.gradients import padded_batches
from poster_ml.explain.graph import check_images
from poster_ml.explain.maps import Explainer
from poster_ml.explain.randomisation import randomisation_check
from poster_ml.explain.removal import blurred, impute, mean_grey, rank_places, replace, top_mask
from poster_ml.progress import progress, progress_bar
from poster_ml.seeding import derive_seed

ROAD_SHARES = (0.2, 0.4, 0.6)
SCORES = ("deletion", "insertion", "road")
Predict = Callable[[np.ndarray], np.ndarray]


def measure_faithfulness(
    model: keras.Model,
    images: np.ndarray,
    *,
    threshold: float = 0.5,
    confidence: float = 0.95,
    method: str = "auto",
    layer_name: str = "",
    seed: int = 0,
    batch_size: int = 16,
    steps: int = 8,
) -> dict[str, Any]:
    """Measures whether a model's maps show what the model uses.

    For each poster the map speaks for the predicted class. Its score is always the probability of that class:
    `deletion`, mean while the highest places give way to grey (lower is better); `insertion`, mean
    while they come back into the blurred poster (higher is better); `road`, how much more is lost when the
    highest places are imputed than when the lowest are (higher is better; 0 for a map that knows nothing).

    Args:
        model: Keras model with one logit (B, 1); read only.
        images: (N, H, W, 3) uint8, N at least 1.
        threshold: in [0, 1]; Fresh is predicted from this probability on (the sigmoid of the model's logit).
        method, layer_name: as for `explain_images`.
        confidence: of the intervals, between 0 and 1.
        seed: of random maps, ties, noise and new weights.
        batch_size: posters per pass.
        steps: of the deletion and insertion curves, at least 2.

    Returns: a dict for JSON: `settings`; `scores[map][score]` with mean and interval over posters;
        `against[control][score]`: the paired advantage of the model's map, positive where it is better, with
        `p_holm`, corrected over all controls and scores, and `better`, whether it is so significantly;
        `curves[map]`: the mean deletion and insertion curves over `shares`; `randomisation`: one entry per
        stage.
    Raises: ValueError with what was received; UnknownLayerError; ExplanationError for an unknown method.
    """
    check_images(images)
    if len(images) == 0 or steps < 2:
        raise ValueError(f"at least one image and two steps are needed, got {len(images)=}, {steps=}")
    explainer = Explainer(model, method=method, layer_name=layer_name)
    predict = probability_function(model, batch_size)
    ends = _end_probabilities(predict, images)
    sides = np.where(ends[:, 0] >= threshold, 1, -1)  # which class each map has to speak for
    model_maps = draw_maps(explainer, images, batch_size)
    maps = {"model": model_maps * sides[:, None, None], **control_maps(images, seed)}
    curves = {
        name: removal_curves(predict, images, saliency, sides, ends, steps=steps, seed=seed)
        for name, saliency in maps.items()
    }
    values = {name: _scores(one) for name, one in curves.items()}
    return {
        "settings": {
            "method": explainer.method,
            "layer_name": explainer.layer_name,
            "posters": len(images),
            "steps": steps,
            "road_shares": list(ROAD_SHARES),
            "confidence": confidence,
            "seed": seed,
            "forward_passes_per_poster": 3 + len(maps) * (2 * (steps - 1) + 2 * len(ROAD_SHARES)),
        },
        "zero_maps": int((np.abs(model_maps).max(axis=(1, 2)) == 0).sum()),
        "scores": {
            name: {score: _mean(one[score], confidence) for score in SCORES} for name, one in values.items()
        },
        "against": _advantages(values, confidence),
        "curves": {
            "shares": np.linspace(0, 1, steps + 1).tolist(),
            **{
                name: {kind: one[kind].mean(axis=0).tolist() for kind in ("deletion", "insertion")}
                for name, one in curves.items()
            },
        },
        "randomisation": _randomisation(model, images, explainer, confidence, seed, batch_size),
    }


def probability_function(model: keras.Model, batch_size: int) -> Predict:
    """Returns a function (B, H, W, 3) uint8 -> (B,) probability of Fresh, float64, in inference mode."""

    def predict(images: np.ndarray) -> np.ndarray:
        batches = progress(
            padded_batches(images, batch_size),
            "scoring batches",
            total=math.ceil(len(images) / batch_size),
            brief=True,
        )
        logits = [
            np.asarray(model.predict_on_batch(chunk), np.float64)[:count, 0] for chunk, count in batches
        ]
        return np.asarray(expit(np.concatenate(logits)))

    return predict


def draw_maps(explainer: Explainer, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Draws one signed map per image as `Explainer.explain`, which is for few, and says how far it is."""
    maps = []
    with progress_bar(len(images), "drawing maps", brief=True) as bar:
        for chunk, count in padded_batches(images, batch_size):
            maps.append(explainer.explain(chunk, batch_size=batch_size)[:count])
            bar.update(count)
    return np.concatenate(maps)


def removal_curves(
    predict: Predict,
    images: np.ndarray,
    saliency: np.ndarray,
    sides: np.ndarray,
    ends: np.ndarray,
    *,
    steps: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Follows the probability of a class while parts of the posters go or come.

    Args:
        predict: (B, H, W, 3) uint8 -> (B,) probability of Fresh.
        images: (N, H, W, 3) uint8.
        saliency: (N, H, W), higher is more important for the class of `sides`.
        sides: (N,) 1 follows Fresh, -1 follows Rotten.
        ends: (N, 3) probability of Fresh of the whole poster, of its mean grey and of its blurred form.
        steps: how many times a share of 1 / steps goes.
        seed: of ties and noise.

    Returns: `deletion` and `insertion` (N, steps + 1), `road_most` and `road_least` (N, len(ROAD_SHARES)).
    """
    shares = np.linspace(0, 1, steps + 1)[1:-1]  # both ends are the same for every map
    rows: dict[str, list[np.ndarray]] = {
        name: [] for name in ("deletion", "insertion", "road_most", "road_least")
    }
    posters = zip(images, saliency, sides, ends, strict=True)
    for number, (image, one, side, (whole, bare, dim)) in enumerate(
        progress(posters, "removing parts", total=len(images))
    ):
        place_seed = derive_seed(seed, "removal", number)
        ranks = rank_places(one, place_seed)
        backwards = ranks.size - 1 - ranks
        grey, blur = mean_grey(image), blurred(image)
        masks = [top_mask(ranks, share) for share in shares]
        variants = [replace(image, mask, grey) for mask in masks]
        variants += [replace(blur, mask, image) for mask in masks]
        variants += [impute(image, top_mask(ranks, share), place_seed) for share in ROAD_SHARES]
        variants += [impute(image, top_mask(backwards, share), place_seed) for share in ROAD_SHARES]
        gone, come, most, least = np.split(
            predict(np.stack(variants)), np.cumsum([steps - 1, steps - 1, len(ROAD_SHARES)])
        )
        fresh = ([whole, *gone, bare], [dim, *come, whole], most, least)
        for name, part in zip(rows, fresh, strict=True):
            rows[name].append(np.asarray(part) if side > 0 else 1 - np.asarray(part))
    return {name: np.stack(part) for name, part in rows.items()}


def _end_probabilities(predict: Predict, images: np.ndarray) -> np.ndarray:
    """Probability of Fresh of the whole poster, of its mean grey and of its blurred form: (N, 3)."""
    rows = [
        predict(np.stack([image, mean_grey(image), blurred(image)]))
        for image in progress(images, "scoring posters", brief=True)
    ]
    return np.stack(rows)


def _scores(curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One number per poster: areas under the curves, and ROAD's mean gap."""
    return {
        "deletion": _area(curves["deletion"]),
        "insertion": _area(curves["insertion"]),
        "road": (curves["road_least"] - curves["road_most"]).mean(axis=1),
    }


def _area(curve: np.ndarray) -> np.ndarray:
    """Area under curves (N, steps + 1) over [0, 1], by trapezoids."""
    return np.asarray((curve[:, 1:] + curve[:, :-1]).mean(axis=1) / 2)


def _mean(values: np.ndarray, confidence: float) -> dict[str, float]:
    return mean_interval(values, confidence)[0].record(len(values))


def _advantages(
    values: dict[str, dict[str, np.ndarray]], confidence: float
) -> dict[str, dict[str, dict[str, float]]]:
    """How much better the model's map is than each control; all of them and all scores are one family."""
    signs = {"deletion": -1, "insertion": 1, "road": 1}
    asked = [(control, score) for control in values if control != "model" for score in signs]
    tested = [
        mean_interval(signs[score] * (values["model"][score] - values[control][score]), confidence)
        for control, score in asked
    ]
    found: dict[str, dict[str, dict[str, float]]] = {}
    corrected = holm([p_value for _, p_value in tested]).tolist()
    for (control, score), (interval, _), p_holm in zip(asked, tested, corrected, strict=True):
        better = interval.estimate > 0 and p_holm < 1.0 - confidence
        count = len(values["model"][score])
        found.setdefault(control, {})[score] = interval.record(count) | {"p_holm": p_holm, "better": better}
    return found


def _randomisation(
    model: keras.Model,
    images: np.ndarray,
    explainer: Explainer,
    confidence: float,
    seed: int,
    batch_size: int,
) -> list[dict[str, Any]]:
    explainers = {id(model): explainer}  # each is compiled once; later weights of the copy are seen

    def explain(one: keras.Model, pictures: np.ndarray) -> np.ndarray:
        if id(one) not in explainers:
            explainers[id(one)] = Explainer(one, method=explainer.method, layer_name=explainer.layer_name)
        return draw_maps(explainers[id(one)], pictures, batch_size)

    return randomisation_check(model, images, explain, confidence=confidence, seed=seed)
