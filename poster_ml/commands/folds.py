"""`poster-ml suite --folds N`: every poster scored by networks that had not seen it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import pandas as pd

from poster_ml.commands.suite import suite_tasks, train_or_find
from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.folds import open_fold
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError, PosterMLError
from poster_ml.evaluation.out_of_fold import cross_validate, join_folds
from poster_ml.pipeline.evaluate import DecisionRule
from poster_ml.pipeline.fit import fit_network
from poster_ml.pipeline.folds import FoldScores, average_fold, score_fold
from poster_ml.pipeline.records import logged_predictions
from poster_ml.pipeline.task import Task, run_tags
from poster_ml.pipeline.train_log import checkpoint_folder, locked_run, log_fit, log_task
from poster_ml.tracking.runs import RunLogger, RunRecord, open_run
from poster_ml.tracking.store import connect
from poster_ml.training.batches import Samples

logger = logging.getLogger(__name__)

MEAN = "mean_of_all"  # the row of all variants' mean logit


@dataclass(frozen=True)
class FoldsResult:
    """The table, what the pairs say, the numbers as logged, what failed, and the files."""

    run_id: str
    table: str
    comparison: str
    metrics: dict[str, float]
    failures: dict[str, str]
    folder: Path

    def text(self) -> str:
        """Returns the table, the paired comparison, and what failed."""
        failed = [f"{name} could not be run: {why}" for name, why in self.failures.items()]
        where = f"tables, figures and every poster's scores in {self.folder}, run {self.run_id}"
        return "\n\n".join([self.table, self.comparison, *failed, where])


def run_folds(
    *,
    folds: int,
    data: Path | None = None,
    protocol: str = "sound",
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: int = 1,
    out: Path,
) -> FoldsResult:
    """Trains every variant once per seed and fold and measures it on all posters, each held out once.

    In each fold everything is chosen on a validation part of the other folds. From two variants on, the mean
    of their calibrated logits is one more row. A run that the store holds finished is not trained again.

    Args:
        folds: how many.
        data, protocol, only, overrides, seeds: as of `suite.run_suite`.
        out: folder for tables, figures and scores.

    Raises: ConfigError, DatasetError; OutputError where `out` holds other files; PosterMLError where no
        variant could be run in all folds.
    """
    connect(write=True)
    tasks = suite_tasks(data, protocol, only, overrides, seeds)
    if limited := next((task.config for task in tasks if task.config.max_samples), None):
        raise ConfigError(
            [f"--folds scores every poster, received max_samples={limited.max_samples}: leave --limit out"]
        )
    views = [open_fold(tasks[0].dataset, f"{fold}/{folds}") for fold in range(1, folds + 1)]
    scores: dict[tuple[str, int], list[FoldScores]] = {}
    failures: dict[str, str] = {}
    tags = {"kind": "folds", "protocol": protocol, "dataset.fingerprint": tasks[0].dataset.fingerprint}
    with open_run(f"folds {protocol}", tags=tags) as parent:
        for number, task in enumerate(tasks, start=1):
            variant, seed = task.config.variant, task.config.seed
            try:
                found = []
                for view in views:
                    name = f"{variant} seed {seed} fold {view.fold}"
                    logger.info(f"[{number}/{len(tasks)}] {name}")
                    folded = dataclasses.replace(task, dataset=view)
                    found.append(_logged(train_or_find(folded, name, parent.run_id, train_fold)))
                    keras.backend.clear_session()
                scores[variant, seed] = found
            except PosterMLError as error:
                logger.warning(f"{name} could not be run: {error}")
                failures[name] = str(error)
        tables = _joined(scores, tasks[0].config, views)
        if not tables:
            raise PosterMLError(f"no variant could be run in all folds: {'; '.join(failures.values())}")
        result = cross_validate(tables, confidence=tasks[0].config.evaluate.confidence)
        parent.log_params({"folds": folds, "seeds": seeds, "variants": ",".join(tables)})
        parent.log_metrics(result.metrics())
        for file in result.write(out, tables):
            parent.log_file(file)
    return FoldsResult(
        parent.run_id, result.markdown(), result.scores.text(), result.metrics(), failures, out
    )


def train_fold(
    task: Task,
    *,
    run_id: str | None = None,
    name: str,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> RunLogger:
    """Fits one network in one fold, in one MLflow run, and scores the posters held out; no model is logged.

    The network is judged in the precision of its training, so that frozen layers run once for all folds and
    seeds. Arguments as of `train.train_task`.
    """
    config, dataset = task.config, task.dataset
    with (
        locked_run(name, run_tags(task) | dict(tags or {}), run_id, parent_run_id) as run,
        TemporaryDirectory() as temporary,
    ):
        log_task(run, task)
        fitted = fit_network(
            config,
            dataset,
            folder=checkpoint_folder(run.run_id),
            on_epoch=lambda epoch, metrics: run.log_metrics(metrics, step=epoch),
        )
        log_fit(run, fitted)
        rows = {split: dataset.indices(split) for split in ("val", "test")}
        found = score_fold(
            dataset,
            config,
            {
                split: fitted.score(Samples(dataset.images, own, dataset.labels(own)))
                for split, own in rows.items()
            },
        )
        run.log_metrics(dataclasses.asdict(found.rule))
        for split, table in (("val", found.validation), ("test", found.test)):
            file = Path(temporary) / "predictions.csv"
            table.to_csv(file, index=False, float_format="%.9g")
            run.log_file(file, f"evaluation/{split}")
    return run


def _logged(record: RunRecord) -> FoldScores:
    """Reads what `train_fold` logged."""
    rule = DecisionRule(record.metrics["temperature"], record.metrics["threshold"])
    return FoldScores(rule, *(logged_predictions(record, split) for split in ("val", "test")))


def _joined(
    scores: Mapping[tuple[str, int], list[FoldScores]],
    config: ExperimentConfig,
    views: Sequence[PreparedDataset],
) -> dict[str, list[pd.DataFrame]]:
    """Joins the folds of every variant and seed, and of the variants' mean for seeds that all have."""
    joined: dict[str, list[pd.DataFrame]] = {variant: [] for variant, _ in scores}
    for (variant, _), found in scores.items():
        joined[variant].append(join_folds([one.test for one in found]))
    variants, seeds = list(joined), dict.fromkeys(seed for _, seed in scores)
    for seed in seeds if len(variants) > 1 else ():
        if all((variant, seed) in scores for variant in variants):
            members = zip(*(scores[variant, seed] for variant in variants), strict=True)
            own = replace(config, seed=seed)
            means = [average_fold(view, own, one).test for view, one in zip(views, members, strict=True)]
            joined.setdefault(MEAN, []).append(join_folds(means))
    return joined
