"""`poster-ml tune`: a hyperparameter search in one MLflow run, continued by the name of its study."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poster_ml.config import ExperimentConfig
from poster_ml.errors import mask_passwords
from poster_ml.pipeline.tune_options import TuneOptions, check_searched, study_identity
from poster_ml.search_space import Fidelity, SearchSpace, load_space, space_path
from poster_ml.tuning.results import FAILED, FINISHED, INTERRUPTED, PRUNED, best_trials
from poster_ml.tuning.storage import DATABASE_NAME, study_lock
from poster_ml.tuning.study import OpenStudy, StudySpec, open_study

if TYPE_CHECKING:
    from poster_ml.pipeline.task import Task

# The demo shows that the search works, in minutes on two CPU cores.
DEMO_FIDELITY = Fidelity(max_samples=300, epochs=2, promote=1, seeds=2)


@dataclass(frozen=True)
class TuneResult:
    """What a search found: `trials` counts them by state, `best` is the row of the best one."""

    study: str
    storage: str
    run_id: str
    trials: dict[str, int]
    best: dict[str, object]
    late: bool
    summary: str

    def text(self) -> str:
        """Returns the result in a few lines."""
        finished, pruned = self.trials[FINISHED], self.trials[PRUNED]
        counted = f"{finished + pruned} counted trials ({finished} finished, {pruned} pruned)"
        more = f"{self.trials[FAILED]} failed, {self.trials[INTERRUPTED]} interrupted"
        return f"study {self.study} in {self.storage}: {counted}, {more}; run {self.run_id}\n{self.summary}"


def run_tune(
    *, model: str, options: TuneOptions, data: Path | None = None, overrides: Sequence[str] = ()
) -> TuneResult:
    """Searches hyperparameters of a variant, or continues a study of the same name.

    Args:
        model: a variant with a search space under `experiments/tune/`.
        options: how.
        data: a prepared dataset; None takes `data/prepared`, or the demo profile where that is missing.
        overrides: "key=value" each, for all trials; keys that are searched cannot be set.

    Raises: ConfigError, TuningError, ClusterError, DatasetError, WeightsError; KeyboardInterrupt with what
        finished kept.
    """
    space = load_space(space_path(model))
    check_searched(space, space_path(model), overrides)
    from poster_ml.pipeline.preflight import check_training, open_named
    from poster_ml.pipeline.task import choose_dataset, resolve_task
    from poster_ml.pipeline.tune_objective import trial_config
    from poster_ml.tracking.store import connect, store_folder

    connect(write=True)
    experiment = check_training(model, overrides=overrides)
    task = resolve_task(experiment, *choose_dataset(open_named(data)), overrides)
    if task.profile == "demo":
        space = dataclasses.replace(space, fidelity=DEMO_FIDELITY)
    config = trial_config(task.config, space.fidelity)
    fingerprint = task.dataset.fingerprint
    keras_tuner = "-keras-tuner" if options.engine == "keras-tuner" else ""
    name = options.study or f"{model}-{fingerprint[:8]}{keras_tuner}"
    storage = options.storage or str(store_folder() / DATABASE_NAME)
    spec = StudySpec(name, storage, options.sampler, options.pruner, options.seed, config.train.epochs)
    with study_lock(storage, name):
        opened = open_study(spec, study_identity(space, config, fingerprint, options))
        return _continue_study(opened, task, space, config, options)


def _continue_study(
    opened: OpenStudy, task: Task, space: SearchSpace, config: ExperimentConfig, options: TuneOptions
) -> TuneResult:
    """Runs the trials that are missing and, unless the time is up, trains the best settings in full."""
    from poster_ml.pipeline.tune_log import STATUS, describe_best, open_study_log

    with open_study_log(opened, task, space, options) as log:
        log.run.log_config(config)
        try:
            if opened.counted() < options.trials:
                log.run_trials(config, task.dataset, options)
        finally:
            table = log.finish()
        late = opened.counted() < options.trials
        summary = describe_best(table, space)
        if late:
            summary += "\nthe time is up; repeat the command to continue"
        elif options.retrain:
            from poster_ml.commands.tune_retraining import retrain_best

            summary += "\n" + retrain_best(task, space, table, log.run)
    return TuneResult(
        study=opened.spec.name,
        storage=mask_passwords(opened.spec.storage),
        run_id=log.run.run_id,
        trials={state: int((table["state"] == state).sum()) for state in STATUS},
        best=next(iter(best_trials(table, 1)), {}),
        late=late,
        summary=summary,
    )
