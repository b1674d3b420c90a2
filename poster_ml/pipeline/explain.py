"""What one network looks at on one split, and what that is worth: for train, evaluate and ensemble."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.explain.activations import dead_channels, default_activation_layers
from poster_ml.explain.faithfulness import measure_faithfulness
from poster_ml.explain.posters import write_explanation
from poster_ml.files import atomic_path
from poster_ml.pipeline.diagnostics import Diagnostics, EvaluatedSplit, draw_order, run_diagnostics
from poster_ml.pipeline.evaluate import DecisionRule, score_images

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowsView:
    """Some rows of a memory map, read one at a time: `view[i]` is `images[rows[i]]`."""

    images: Any
    rows: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, position: int) -> np.ndarray:
        """Returns one poster (H, W, 3) uint8."""
        return np.asarray(self.images[self.rows[position]])

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, 3)."""
        return (len(self.rows), *self.images.shape[1:])


def explain_split(
    model: Any,
    dataset: PreparedDataset,
    split: str,
    config: ExperimentConfig,
    decision_rule: DecisionRule,
    logits: np.ndarray,
    folder: Path,
    *,
    complete: bool = False,
) -> tuple[dict[str, Any] | None, Diagnostics]:
    """Explains a network on one split and tests what the explanation is worth.

    Args:
        model: the whole network in float32.
        dataset: where the posters are.
        split: train, val or test.
        config: the experiment; its limit, seed, evaluate and explain sections are used.
        decision_rule: temperature and threshold, from validation.
        logits: (n,) of the split's posters.
        folder: gets `explain/<split>/`: sheets, activation grids, tests.
        complete: False, after training, leaves out what takes minutes, see `run_diagnostics`.

    Returns: how faithful the maps are, None where that was not asked for; and what was found by the tests.
    """
    logger.info(f"explaining {split}")
    rows = dataset.indices(split, config.max_samples, config.seed)
    posters = dataset.index.iloc[rows].reset_index(drop=True)
    evaluated = EvaluatedSplit(
        model=model,
        predict=lambda pictures: score_images(model, pictures, decision_rule),
        threshold=decision_rule.threshold,
        dataset=dataset,
        rows=rows,
        posters=posters,
        probabilities=expit(logits / decision_rule.temperature),
        order=draw_order(posters, dataset.fingerprint),
    )
    explained = folder / "explain" / split
    explained.mkdir(parents=True, exist_ok=True)
    _write_maps(evaluated, config, explained)
    faithfulness = _faithfulness(evaluated, config, decision_rule, explained)
    logger.info(f"testing shortcuts and claims on {split}")
    return faithfulness, run_diagnostics(evaluated, config, explained, complete=complete)


def _write_maps(evaluated: EvaluatedSplit, config: ExperimentConfig, folder: Path) -> None:
    """Writes the sheets of maps and the activation grids."""
    titles = [None if pd.isna(title) else str(title) for title in evaluated.posters["title"]]
    write_explanation(
        evaluated.model,
        RowsView(evaluated.dataset.images, evaluated.rows),  # type: ignore[arg-type]
        evaluated.posters["label"].to_numpy(),
        evaluated.probabilities,
        titles,
        folder,
        threshold=evaluated.threshold,
        method=config.explain.method,
        layer_name=config.explain.layer,
    )


def _faithfulness(
    evaluated: EvaluatedSplit, config: ExperimentConfig, decision_rule: DecisionRule, folder: Path
) -> dict[str, Any] | None:
    """Measures how faithful the maps of the first posters of the order are, where asked for."""
    count = min(config.explain.faithfulness_posters, len(evaluated.rows))
    if count == 0:
        return None
    model, sample = evaluated.model, evaluated.images(np.sort(evaluated.order[:count]))
    measured = measure_faithfulness(
        model,
        sample,
        threshold=decision_rule.uncalibrated_threshold(),
        method=config.explain.method,
        layer_name=config.explain.layer,
        confidence=config.evaluate.confidence,
        seed=config.seed,
    )
    measured["dead_channels"] = {
        name: int(dead_channels(model, sample, name).sum()) for name in default_activation_layers(model)
    }
    with atomic_path(folder / "faithfulness.json") as temporary:
        temporary.write_text(json.dumps(measured, indent=1))
    return measured
