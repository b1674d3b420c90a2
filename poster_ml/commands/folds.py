"""`poster-ml suite --folds N`: every poster scored by networks that had not seen it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from poster_ml.data.folds import open_fold
from poster_ml.errors import ConfigError, PosterMLError
from poster_ml.evaluation.out_of_fold import cross_validate
from poster_ml.pipeline.folds import FoldScores, join_scores, logged_scores, train_fold
from poster_ml.pipeline.suite_tasks import suite_tasks, train_or_find
from poster_ml.tracking.runs import open_run
from poster_ml.tracking.store import connect

logger = logging.getLogger(__name__)


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
                    folded = dataclasses.replace(task, dataset=view, name=name, parent_run_id=parent.run_id)
                    found.append(logged_scores(train_or_find(folded, train_fold)))
                    keras.backend.clear_session()
                scores[variant, seed] = found
            except PosterMLError as error:
                logger.warning(f"{name} could not be run: {error}")
                failures[name] = str(error)
        tables = join_scores(scores, tasks[0].config, views)
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
