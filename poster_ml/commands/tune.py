"""`poster-ml tune`: a hyperparameter search in one MLflow run, continued by the name of its study."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from poster_ml.config import (
    ExperimentConfig,
    Fidelity,
    SearchSpace,
    experiment_path,
    load_experiment,
    load_space,
    replace,
    space_path,
    to_yaml,
)
from poster_ml.errors import TuningError, mask_passwords, nearest
from poster_ml.tuning.records import FAILED, FINISHED, INTERRUPTED, PRUNED, top
from poster_ml.tuning.space import default_points
from poster_ml.tuning.storage import JOURNAL_NAME, check_storage
from poster_ml.tuning.study import StudySpec, open_study
from poster_ml.tuning.work import LATE, Job
from poster_ml.tuning.workers import run_workers

logger = logging.getLogger(__name__)

ENGINES = ("optuna", "keras-tuner")
WORK_FOLDER = Path(".poster-ml") / "tuning"
# The demo shows that the search works, in minutes on two CPU cores.
DEMO_FIDELITY = Fidelity(max_samples=300, epochs=2, promote=1, seeds=2)


@dataclass(frozen=True)
class TuneOptions:
    """How a search is run; names as on the command line.

    Attributes:
        trials: counted trials the study is to have in all, at least 1.
        engine: "optuna" or "keras-tuner".
        workers: processes, at least 1; KerasTuner has one.
        storage: path of a journal file or database URL; empty: a journal beside the MLflow store.
        study: its name; empty: variant and dataset.
        timeout: minutes after which no trial is begun; 0: none.
        sampler, pruner: names, as in `tuning.study`.
        seed: of the study, at least 0.
        own_settings: try the variant's own settings and the study's first.
        ending: train the best settings in full afterwards, compare, evaluate, register.
    """

    trials: int
    engine: str = "optuna"
    workers: int = 1
    storage: str = ""
    study: str = ""
    timeout: float = 0.0
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0
    own_settings: bool = True
    retrain: bool = True

    def __post_init__(self) -> None:
        """Checks everything that can be checked before anything is imported or started."""
        for name, value in (("trials", self.trials), ("workers", self.workers)):
            if value < 1:
                raise TuningError(f"--{name} must be at least 1, got {value}")
        if self.timeout < 0:
            raise TuningError(f"--timeout must be 0 (none) or minutes above it, got {self.timeout:g}")
        if self.engine not in ENGINES:
            hint = nearest(self.engine, ENGINES)
            raise TuningError(f"unknown engine {self.engine!r}{hint}: choose one of {', '.join(ENGINES)}")
        if self.engine == "keras-tuner" and self.workers > 1:
            raise TuningError(
                f"the engine keras-tuner runs with one worker, got --workers {self.workers}: "
                "leave it out, or use --engine optuna"
            )
        if self.storage:
            check_storage(self.storage, self.workers)


@dataclass(frozen=True)
class TuneResult:
    """What a search found."""

    study: str
    storage: str
    run_id: str
    finished: int
    pruned: int
    failed: int
    interrupted: int
    best_number: int | None
    best_value: float | None
    best_overrides: dict[str, object]
    late: bool
    summary: str

    def text(self) -> str:
        """Returns the result in a few lines."""
        counts = (
            f"{self.finished + self.pruned} counted trials ({self.finished} finished, {self.pruned} pruned)"
        )
        more = f", {self.failed} failed, {self.interrupted} interrupted and run again"
        return f"study {self.study} in {self.storage}: {counts}{more}; run {self.run_id}\n{self.summary}"


def run_tune(
    *,
    model: str,
    options: TuneOptions,
    data: Path | None = None,
    overrides: Sequence[str] = (),
) -> TuneResult:
    """Searches hyperparameters of a variant, or continues a study of the same name.

    Args:
        model: a variant with a search space under `experiments/tune/`.
        options: how.
        data: a prepared dataset; None takes `data/prepared`, or the demo profile where that is missing.
        overrides: "key=value" each, for all trials; keys that are searched cannot be set.

    Raises: ConfigError, TuningError, DatasetError, WeightsError; KeyboardInterrupt with what finished kept.
    """
    path = space_path(model)
    space = load_space(path)
    _check_overrides(space, path, overrides)
    # Workers and this process share a GPU: nobody may take all of its memory at once.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from poster_ml.pipeline.preflight import check_training, open_named
    from poster_ml.pipeline.task import choose_dataset, resolve_task, run_tags
    from poster_ml.pipeline.tune_log import ParentLog, describe_best, find_parent
    from poster_ml.pipeline.tune_objective import TrainingObjective
    from poster_ml.tracking.runs import open_run
    from poster_ml.tracking.store import connect, journal_folder

    connect(write=True)
    experiment = check_training(model, overrides=overrides)
    dataset, profile = choose_dataset(open_named(data))
    task = resolve_task(experiment, dataset, profile, overrides)
    if task.profile == "demo":
        space = dataclasses.replace(space, fidelity=DEMO_FIDELITY)
    config = trial_config(task.config, space.fidelity)
    keras_tuner = options.engine == "keras-tuner"
    name = options.study or f"{model}-{dataset.fingerprint[:8]}{'-keras-tuner' * keras_tuner}"
    storage = options.storage or str(journal_folder() / JOURNAL_NAME)
    shown = mask_passwords(storage)
    spec = StudySpec(name, storage, options.sampler, options.pruner, options.seed, config.train.epochs)
    opened = open_study(spec, _identity(space, config, dataset.fingerprint, options))
    shared_tags = run_tags(task)
    tags = shared_tags | {
        "kind": "study",
        "study": name,
        "storage": shown,
        "engine": options.engine,
        "sampler": options.sampler,
        "pruner": options.pruner,
        "search_space": space.fingerprint(),
        "trials": str(options.trials),
        "workers": str(options.workers),
    }
    with open_run(f"study {name}", tags=tags, run_id=find_parent(name, shown)) as run:
        run.log_config(config)
        log = ParentLog(run, opened, space)
        log.settle_children()
        study_own = load_experiment(experiment_path(space.variant, "study"))
        job = Job(
            spec=spec,
            space=space,
            objective=TrainingObjective(
                config, dataset.folder.resolve(), name, shared_tags, run.run_id, keep=keras_tuner
            ),
            trials=options.trials,
            folder=work_folder(name).resolve(),
            points=tuple(default_points(space, config, study_own)) if options.own_settings else (),
            deadline=time.time() + 60 * options.timeout if options.timeout else 0.0,
            since=len(opened.trials()),
        )
        try:
            if keras_tuner:
                from poster_ml.tuning.keras_tuner_engine import run_keras_tuner

                ended = run_keras_tuner(job, opened, after_trial=log.after_trial)
            else:
                ended = run_workers(job, opened, options.workers, log.after_trial)
        finally:
            records = log.finish()
        summary = describe_best(records)
        if ended == LATE:
            summary += "\nthe time is up; repeat the command to continue"
        elif options.retrain:
            from poster_ml.commands.tune_retraining import end_study

            summary += "\n" + end_study(task, space, records, run, opened)
    count = Counter(record.state for record in records)
    best = next(iter(top(records, 1)), None)
    return TuneResult(
        study=name,
        storage=shown,
        run_id=run.run_id,
        finished=count[FINISHED],
        pruned=count[PRUNED],
        failed=count[FAILED],
        interrupted=count[INTERRUPTED],
        best_number=best.number if best else None,
        best_value=best.value if best else None,
        best_overrides=best.overrides if best else {},
        late=ended == LATE,
        summary=summary,
    )


def work_folder(study: str) -> Path:
    """Returns the folder of the checkpoints of a study's trials: below `WORK_FOLDER`, whatever its name."""
    name = quote(study, safe=" ")
    return WORK_FOLDER / (f"%2E{name[1:]}" if name.startswith(".") else name)


def trial_config(config: ExperimentConfig, fidelity: Fidelity) -> ExperimentConfig:
    """Returns the experiment as trials run it: fewer posters, no more epochs than it has."""
    epochs = min(fidelity.epochs or config.train.epochs, config.train.epochs)
    limit = (
        fidelity.max_samples
        if config.max_samples == 0
        else min(config.max_samples, fidelity.max_samples or config.max_samples)
    )
    return replace(config, **{"max_samples": limit, "train.epochs": epochs})


def _check_overrides(space: SearchSpace, path: Path, overrides: Sequence[str]) -> None:
    """Refuses to set what is searched: the search would overwrite it."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in space.parameters:
            raise TuningError(
                f"--set {override}: {key} is {space.parameters[key].role} in {path}, so trials set it; "
                "change it there"
            )


def _identity(
    space: SearchSpace, config: ExperimentConfig, fingerprint: str, options: TuneOptions
) -> dict[str, str]:
    """Returns what all trials of a study must have in common."""
    return {
        "variant": space.variant,
        "search space": space.fingerprint(),
        "experiment": hashlib.sha256(to_yaml(config).encode()).hexdigest()[:12],
        "dataset": fingerprint[:12],
        "engine": options.engine,
        "seed": str(options.seed),
    }
