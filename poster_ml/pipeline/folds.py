"""One fold of a cross-validation: what a network says of the posters that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.combined import CombinedModel
from poster_ml.pipeline.evaluate import DecisionRule, fit_decision_rule


@dataclass(frozen=True)
class FoldScores:
    """A network's scores in one fold.

    rule: fitted on the validation part.
    validation: movie_id, label, logit, probability, of the posters that chose epoch, temperature,
        threshold and the combination with year and genres.
    test: the same of the posters held out, with year, genres, width, height, fold, threshold,
        probability_metadata and probability_combined (NaN where neither year nor genres are known).
    """

    rule: DecisionRule
    validation: pd.DataFrame
    test: pd.DataFrame


def score_fold(
    dataset: PreparedDataset, config: ExperimentConfig, logits: Mapping[str, np.ndarray]
) -> FoldScores:
    """Chooses everything on the validation part, and answers for the held-out part.

    Args:
        dataset: a fold, as of `open_fold`; no label of its `test` is looked at.
        config: its seed and evaluate section are used.
        logits: of all posters of "val" and "test", in their order.
    """
    parts = {split: dataset.index.iloc[dataset.indices(split)] for split in ("train", "val", "test")}
    rule = fit_decision_rule(logits["val"], parts["val"]["label"].to_numpy(), config.evaluate)
    probabilities = {split: expit(values / rule.temperature) for split, values in logits.items()}
    combined = CombinedModel.fit(parts["train"], parts["val"], probabilities["val"], seed=config.seed)
    missing = np.full((2, len(parts["test"])), np.nan)
    alone, together = combined.probabilities(parts["test"], probabilities["test"]) if combined else missing
    columns = ["movie_id", "label", "year", "genres", "width", "height"]
    validation, test = (
        parts[split]
        .reindex(columns=columns)
        .reset_index(drop=True)
        .assign(logit=logits[split], probability=probabilities[split])
        for split in ("val", "test")
    )
    test = test.assign(
        fold=dataset.fold,
        threshold=rule.threshold,
        probability_metadata=alone,
        probability_combined=together,
    )
    return FoldScores(rule, validation[["movie_id", "label", "logit", "probability"]], test)


def average_fold(
    dataset: PreparedDataset, config: ExperimentConfig, members: Sequence[FoldScores]
) -> FoldScores:
    """Returns what the mean of several networks' calibrated logits says in the same fold."""
    logits = {
        split: np.mean([logit(getattr(one, name)["probability"].to_numpy()) for one in members], axis=0)
        for split, name in (("val", "validation"), ("test", "test"))
    }
    return score_fold(dataset, config, logits)
