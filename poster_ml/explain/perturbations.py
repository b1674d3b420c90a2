"""Shortcut tests: what a model loses with a poster's text, faces, border, centre, colour or detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.evaluation.stats import (
    Interval,
    delong_difference,
    mcnemar,
    paired_accuracy_difference,
    structural_components,
)
from poster_ml.explain.pointing import Box, box_mask
from poster_ml.explain.removal import blurred, impute, luminance
from poster_ml.progress import progress
from poster_ml.seeding import derive_seed, generator

Perturbation = Callable[[np.ndarray], np.ndarray]


def blur(images: np.ndarray) -> np.ndarray:
    """Blurs by .02 of the longer side: credits become unreadable, titles stay as shapes."""
    return np.stack([blurred(image, 0.02) for image in images])


def greyscale(images: np.ndarray) -> np.ndarray:
    """Takes the colour away and keeps the luminance; still three channels."""
    return np.stack([np.rint(luminance(image)).astype(np.uint8)[..., None].repeat(3, -1) for image in images])


def mirror(images: np.ndarray) -> np.ndarray:
    """Swaps left and right: text becomes unreadable, layout and colour stay."""
    return np.ascontiguousarray(images[:, :, ::-1])


def mask_border(images: np.ndarray) -> np.ndarray:
    """Covers a frame of a tenth of each side with the mean colour of the rest."""
    return _cover(images, ~_centre(images, 0.1))


def mask_centre(images: np.ndarray) -> np.ndarray:
    """Covers all but a frame of a quarter of each side with the frame's mean colour."""
    return _cover(images, _centre(images, 0.25))


def mask_boxes(images: np.ndarray, boxes: Sequence[Sequence[Box]], seed: int = 0) -> np.ndarray:
    """Removes boxes (text, faces) by noisy linear imputation, so that no sharp edge gives them away.

    Args:
        images: (B, H, W, 3) uint8.
        boxes: for each poster its boxes (left, top, right, bottom) in pixels; posters without one stay.
        seed: of the noise.

    Returns: (B, H, W, 3) uint8.
    """
    masks = [box_mask(found, *images.shape[1:3]) for found in boxes]
    rows = enumerate(zip(images, masks, strict=True))
    return np.stack([impute(image, mask, derive_seed(seed, "mask", row)) for row, (image, mask) in rows])


def box_perturbations(
    boxes: Mapping[str, Sequence[Sequence[Box]]], height: int, width: int, seed: int = 0
) -> dict[str, Perturbation]:
    """Makes perturbations of what was found on one set of posters, each with its control.

    Args:
        boxes: what ("text", "faces") -> for each poster its boxes in pixels.
        height, width: of the posters.
        seed: of noise and places.

    Returns: for each name "<name> masked" and "<name> control": boxes of the same sizes at random
        places, since hiding as much of anything costs something too. They fit the posters of
        `boxes` only, in that order.
    """
    made: dict[str, Perturbation] = {}
    for name, found in boxes.items():
        draw = generator(seed, "elsewhere", name)
        moved = [[_elsewhere(box, height, width, draw) for box in one] for one in found]
        made[f"{name} masked"] = partial(mask_boxes, boxes=found, seed=seed)
        made[f"{name} control"] = partial(mask_boxes, boxes=moved, seed=seed)
    return made


def _elsewhere(box: Box, height: int, width: int, draw: np.random.Generator) -> Box:
    across, down = min(box[2] - box[0], width), min(box[3] - box[1], height)
    left, top = draw.uniform(0, width - across), draw.uniform(0, height - down)
    return (left, top, left + across, top + down)


PERTURBATIONS: Mapping[str, Perturbation] = {
    "blur": blur,
    "greyscale": greyscale,
    "mirror": mirror,
    "border masked": mask_border,
    "centre masked": mask_centre,
}


def shortcut_table(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    perturbations: Mapping[str, Perturbation] = PERTURBATIONS,
    *,
    threshold: float = 0.5,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compares a model on the posters as they are and perturbed, with paired differences.

    Args:
        predict: (N, H, W, 3) uint8 -> (N,) probability of Fresh.
        images: (N, H, W, 3) uint8.
        probabilities: (N,) what the model says of them as they are.
        labels: (N,) 1 Fresh, 0 Rotten; both must occur.
        perturbations: name -> function from and to (N, H, W, 3) uint8.
        threshold: probability from which a poster is called Fresh, in [0, 1].
        confidence: of the intervals, between 0 and 1.

    Returns: one row for "none" and one per perturbation: `perturbation, posters, accuracy, roc_auc,
        mean_probability`, each of `accuracy_change` (Agresti and Min; McNemar) and `roc_auc_change` (DeLong)
        with `_ci_low`, `_ci_high` and the uncorrected `_p`; the changes of "none" are 0, without a p-value.
    Raises: ValueError with what was received.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(images),) or set(np.unique(labels)) != {0, 1}:
        raise ValueError(f"labels must be (N,) with both 0 and 1, got {labels.shape=}, {np.unique(labels)=}")
    usual = np.asarray(probabilities, np.float64)
    none = Interval(0.0, 0.0, 0.0)
    same = none.columns("accuracy_change") | none.columns("roc_auc_change")
    was_right = (usual >= threshold) == labels
    rows: list[dict[str, Any]] = [_scores("none", labels, usual, was_right) | same]
    for name, perturb in progress(perturbations.items(), "shortcut tests", total=len(perturbations)):
        changed = np.asarray(predict(perturb(images)), np.float64)
        right = (changed >= threshold) == labels
        gained, lost = int((right & ~was_right).sum()), int((was_right & ~right).sum())
        accuracy = paired_accuracy_difference(gained, lost, len(labels), confidence)
        auc, auc_p = delong_difference(labels, changed, usual, confidence)
        row = _scores(name, labels, changed, right)
        row |= accuracy.columns("accuracy_change") | {"accuracy_change_p": mcnemar(gained, lost)}
        rows.append(row | auc.columns("roc_auc_change") | {"roc_auc_change_p": auc_p})
    return pd.DataFrame(rows)


def _scores(name: str, labels: np.ndarray, probabilities: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    return {
        "perturbation": name,
        "posters": len(labels),
        "accuracy": float(right.mean()),
        "roc_auc": structural_components(labels, probabilities)[0],
        "mean_probability": float(probabilities.mean()),
    }


def _centre(images: np.ndarray, width: float) -> np.ndarray:
    height, across = images.shape[1:3]
    down, side = max(1, round(width * height)), max(1, round(width * across))
    inner = np.zeros((height, across), bool)
    inner[down : height - down, side : across - side] = True
    return inner


def _cover(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Covers `mask` (H, W) with each poster's mean colour outside of it: nothing of what is covered leaks."""
    colours = np.rint(images[:, ~mask].mean(axis=1)).astype(np.uint8)[:, None, None]
    return np.where(mask[None, ..., None], colours, images)
