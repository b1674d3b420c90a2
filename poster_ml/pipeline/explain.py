"""What one network looks at on one split, and what that is worth: for train, evaluate and ensemble."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.explain.activations import write_activation_grids
from poster_ml.explain.faithfulness import measure_faithfulness
from poster_ml.explain.maps import Explainer
from poster_ml.explain.sheets import poster_caption, write_sheet
from poster_ml.files import write_text
from poster_ml.pipeline.diagnostics import Diagnostics, EvaluatedSplit, draw_order, run_diagnostics
from poster_ml.pipeline.evaluate import ScoredModel, score_images

logger = logging.getLogger(__name__)

SURE = 8  # posters per sheet, as in the study


def explain_split(
    scored: ScoredModel, split: str, folder: Path, *, complete: bool = False
) -> tuple[dict[str, Any] | None, Diagnostics]:
    """Explains a network on one split and tests what the explanation is worth.

    Args:
        scored: with the logits of `split`.
        split: train, val or test.
        folder: gets `explain/<split>/`: sheets, activation grids, tests.
        complete: False, after training, leaves out what takes minutes, see `run_diagnostics`.

    Returns: how faithful the maps are, None where that was not asked for; and what was found by the tests.
    """
    logger.info(f"explaining {split}")
    config, posters = scored.config, scored.posters(split)
    evaluated = EvaluatedSplit(
        explainer=Explainer(scored.model, method=config.explain.method, layer_name=config.explain.layer),
        predict=lambda pictures: score_images(scored.model, pictures, scored.rule),
        threshold=scored.rule.threshold,
        dataset=scored.dataset,
        rows=scored.rows(split),
        posters=posters,
        probabilities=scored.probabilities(split),
        order=draw_order(posters, scored.dataset.fingerprint),
    )
    explained = folder / "explain" / split
    explained.mkdir(parents=True, exist_ok=True)
    _write_maps(evaluated, explained)
    faithfulness = _faithfulness(evaluated, scored, explained)
    logger.info(f"testing shortcuts and claims on {split}")
    return faithfulness, run_diagnostics(evaluated, config, explained, complete=complete)


def choose_posters(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float
) -> dict[str, tuple[str, np.ndarray]]:
    """Chooses the rows of the four sheets: name -> (heading, at most 8 rows, the surest or worst first).

    A poster is an error where it was called Fresh (its probability is `threshold` or more) and is
    Rotten, or the other way round.
    """
    rising = np.argsort(probabilities, kind="stable")
    falling = np.argsort(-probabilities, kind="stable")
    called = probabilities >= threshold
    false_fresh = falling[called[falling] & (labels[falling] == 0)]
    false_rotten = rising[~called[rising] & (labels[rising] == 1)]
    return {
        "cam_fresh_top8": ("Highest probability of Fresh", falling[:SURE]),
        "cam_rotten_top8": ("Lowest probability of Fresh", rising[:SURE]),
        "cam_false_fresh_worst8": ("Called Fresh, true label Rotten", false_fresh[:SURE]),
        "cam_false_rotten_worst8": ("Called Rotten, true label Fresh", false_rotten[:SURE]),
    }


def _write_maps(evaluated: EvaluatedSplit, folder: Path) -> None:
    """Writes the sheets of maps, and the activation grids of the most probably Fresh poster."""
    explainer, probabilities = evaluated.explainer, evaluated.probabilities
    labels, titles = evaluated.posters["label"].to_numpy(), evaluated.posters["title"].fillna("").astype(str)
    for name, (heading, rows) in choose_posters(labels, probabilities, evaluated.threshold).items():
        images = evaluated.images(rows)
        captions = [poster_caption(titles[row], probabilities[row], labels[row]) for row in rows]
        maps = explainer.explain(images)
        write_sheet(folder / f"{name}.png", images, maps, captions, f"{heading} ({explainer.how})")
    (surest,) = evaluated.images(np.argmax(probabilities, keepdims=True))
    write_activation_grids(explainer.model, surest, folder)


def _faithfulness(evaluated: EvaluatedSplit, scored: ScoredModel, folder: Path) -> dict[str, Any] | None:
    """Measures how faithful the maps of the first posters of the order are, where asked for."""
    config = scored.config
    count = config.explain.faithfulness_posters
    if count == 0:
        return None
    measured = measure_faithfulness(
        evaluated.explainer,
        evaluated.images(np.sort(evaluated.order[:count])),
        threshold=scored.rule.uncalibrated_threshold(),
        confidence=config.evaluate.confidence,
        seed=config.seed,
    )
    write_text(folder / "faithfulness.json", json.dumps(measured, indent=1))
    return measured
