"""The options of a search and what identifies its study; read before Keras is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from poster_ml.config import ExperimentConfig, to_yaml
from poster_ml.errors import TuningError
from poster_ml.search_space import SearchSpace
from poster_ml.tuning.storage import check_storage

WORK_FOLDER = Path(".poster-ml") / "tuning"


@dataclass(frozen=True)
class TuneOptions:
    """How a search is run; names as on the command line.

    Attributes:
        trials: counted trials the study is to have in all, at least 1.
        engine: "optuna" or "keras-tuner".
        workers: processes on this machine, at least 1; KerasTuner has one.
        scheduler: address of a Dask scheduler whose workers run the trials; empty: POSTER_ML_SCHEDULER.
        dashboard: show where Dask's dashboard is.
        storage: path of a SQLite file or database URL; empty: `optuna.db` beside the MLflow store.
        study: its name; empty: variant and dataset.
        timeout: minutes after which no trial is begun; 0: none.
        sampler, pruner: names, as in `tuning.study`.
        seed: of the study, at least 0.
        own_settings: try the variant's own settings and the study's first.
        retrain: train the best settings in full afterwards, compare, evaluate, register.
    """

    trials: int
    engine: str = "optuna"
    workers: int = 1
    scheduler: str = ""
    dashboard: bool = False
    storage: str = ""
    study: str = ""
    timeout: float = 0.0
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0
    own_settings: bool = True
    retrain: bool = True

    def __post_init__(self) -> None:
        """Checks what can be checked before anything is imported or started."""
        if self.engine == "keras-tuner" and (self.workers > 1 or self.scheduler):
            raise TuningError(
                f"the engine keras-tuner runs in this process, received --workers {self.workers} "
                f"--scheduler {self.scheduler or 'none'}: leave them out, or use --engine optuna"
            )
        if self.storage:
            check_storage(self.storage)
        if self.engine == "optuna":
            from poster_ml.cluster import check_scheduler

            check_scheduler(self.scheduler)


def work_folder(study: str) -> Path:
    """Returns the folder of the checkpoints of a study's trials: below `WORK_FOLDER`, whatever its name."""
    name = quote(study, safe=" ")
    return WORK_FOLDER / (f"%2E{name[1:]}" if name.startswith(".") else name)


def check_searched(space: SearchSpace, path: Path, overrides: Sequence[str]) -> None:
    """Refuses to set what is searched: the search would overwrite it."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in space.parameters:
            raise TuningError(
                f"--set {override}: {key} is {space.parameters[key].role} in {path}, so trials set it; "
                "change it there"
            )


def study_identity(
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
