"""One fold of a cross-validation: what a network says of the posters that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.out_of_fold import join_folds
from poster_ml.files import write_text
from poster_ml.pipeline.evaluate import DecisionRule, ScoredModel, fit_decision_rule
from poster_ml.pipeline.fit import fit_network
from poster_ml.pipeline.records import logged_predictions
from poster_ml.pipeline.task import Task
from poster_ml.pipeline.train_log import checkpoint_folder, log_fit, training_run
from poster_ml.tracking.runs import RunLogger, RunRecord
from poster_ml.training.batches import Samples

MEAN = "mean_of_all"  # the row of all variants' mean logit


@dataclass(frozen=True)
class FoldScores:
    """A network's scores in one fold.

    rule: fitted on the validation part.
    tables: "val": movie_id, label, logit, probability, of the posters that chose epoch,
        temperature, threshold and the combination with year and genres; "test": the same of the
        posters held out, with year, genres, width, height, fold, threshold, probability_metadata
        and probability_combined (NaN where neither year nor genres are known).
    """

    rule: DecisionRule
    tables: dict[str, pd.DataFrame]


def score_fold(
    dataset: PreparedDataset, config: ExperimentConfig, logits: Mapping[str, np.ndarray]
) -> FoldScores:
    """Chooses everything on the validation part, and answers for the held-out part.

    Args:
        dataset: a fold, as of `open_fold`; no label of its `test` is looked at.
        config: its seed and evaluate section are used.
        logits: of all posters of "val" and "test", in their order.
    """
    rule = fit_decision_rule(logits["val"], dataset.labels(dataset.indices("val")), config.evaluate)
    scored = ScoredModel(None, dataset, config, rule, logits)
    combined, held_out = scored.combined, scored.posters("test")
    missing = np.full((2, len(held_out)), np.nan)
    alone, together = combined.probabilities(held_out, scored.probabilities("test")) if combined else missing
    columns = ["movie_id", "label", "year", "genres", "width", "height"]
    validation, test = (
        scored.posters(split)
        .reindex(columns=columns)
        .assign(logit=logits[split], probability=scored.probabilities(split))
        for split in ("val", "test")
    )
    test = test.assign(
        fold=dataset.fold,
        threshold=rule.threshold,
        probability_metadata=alone,
        probability_combined=together,
    )
    return FoldScores(rule, {"val": validation[["movie_id", "label", "logit", "probability"]], "test": test})


def average_fold(
    dataset: PreparedDataset, config: ExperimentConfig, members: Sequence[FoldScores]
) -> FoldScores:
    """Returns what the mean of several networks' calibrated logits says in the same fold."""
    logits = {
        split: np.mean([logit(one.tables[split]["probability"].to_numpy()) for one in members], axis=0)
        for split in ("val", "test")
    }
    return score_fold(dataset, config, logits)


def train_fold(task: Task) -> RunLogger:
    """Fits one network in one fold, in one MLflow run, and scores the posters held out; no model is logged.

    The network scores in the precision of its training, so that frozen layers run once for all
    folds and seeds.

    Raises: TrackingError where another process trains the run now, which is then left as it is.
    """
    config, dataset = task.config, task.dataset
    with training_run(task) as run, run.results("evaluation") as folder:
        fitted = fit_network(
            config,
            dataset,
            folder=checkpoint_folder(run.run_id),
            on_epoch=lambda epoch, metrics: run.log_metrics(metrics, step=epoch),
        )
        log_fit(run, fitted)
        logits = {}
        for split in ("val", "test"):
            rows = dataset.indices(split)
            logits[split] = fitted.score(Samples(dataset.images, rows, dataset.labels(rows)))
        found = score_fold(dataset, config, logits)
        run.log_metrics(asdict(found.rule))
        for split, table in found.tables.items():
            text = table.to_csv(index=False, float_format="%.9g")
            write_text(folder / split / "predictions.csv", text)
    return run


def logged_scores(record: RunRecord) -> FoldScores:
    """Reads what `train_fold` logged."""
    rule = DecisionRule(record.metrics["temperature"], record.metrics["threshold"])
    return FoldScores(rule, {split: logged_predictions(record, split) for split in ("val", "test")})


def join_scores(
    scores: Mapping[tuple[str, int], list[FoldScores]],
    config: ExperimentConfig,
    views: Sequence[PreparedDataset],
) -> dict[str, list[pd.DataFrame]]:
    """Joins the folds of every variant and seed, and of the variants' mean for seeds that all have."""
    joined: dict[str, list[pd.DataFrame]] = {variant: [] for variant, _ in scores}
    for (variant, _), found in scores.items():
        joined[variant].append(join_folds([one.tables["test"] for one in found]))
    variants, seeds = list(joined), dict.fromkeys(seed for _, seed in scores)
    for seed in seeds if len(variants) > 1 else ():
        if all((variant, seed) in scores for variant in variants):
            members = zip(*(scores[variant, seed] for variant in variants), strict=True)
            own = replace(config, seed=seed)
            means = [average_fold(view, own, one) for view, one in zip(views, members, strict=True)]
            joined.setdefault(MEAN, []).append(join_folds([mean.tables["test"] for mean in means]))
    return joined
