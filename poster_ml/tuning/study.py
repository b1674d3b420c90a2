"""The Optuna study: opened by name, continued by name, refused where it would mix unlike trials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from poster_ml.errors import TuningError, mask_passwords, nearest
from poster_ml.seeding import derive_seed
from poster_ml.tuning.storage import open_storage

SAMPLERS = ("tpe", "random", "qmc")
PRUNERS = ("median", "third", "hyperband", "halving", "none")
IDENTITY = "identity"


@dataclass(frozen=True)
class StudySpec:
    """Where a study lies, and how it searches.

    Attributes:
        name: of the study in its storage.
        storage: path of a SQLite file, or a database URL.
        sampler: one of `SAMPLERS`.
        pruner: one of `PRUNERS`.
        seed: of the study, at least 0; samplers and trials derive theirs from it.
        epochs: the most epochs a trial can have; Hyperband plans with it.
        startup: counted trials before the sampler learns.
        prune_after: finished trials before the median and third pruners evaluate.
    """

    name: str
    storage: str
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0
    epochs: int = 15
    startup: int = 8
    prune_after: int = 3

    def __post_init__(self) -> None:
        """Checks the names at the door."""
        for what, name, allowed in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if name not in allowed:
                choose = f"choose one of {', '.join(allowed)}"
                raise TuningError(f"unknown {what} {name!r}{nearest(name, allowed)}: {choose}")


@dataclass(frozen=True)
class OpenStudy:
    """A study that is open since `since`; its command is the only one that touches it."""

    spec: StudySpec
    study: optuna.Study
    storage: BaseStorage
    since: datetime = field(default_factory=datetime.now)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Returns the trials of these states (all without one), read-only, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def counted(self) -> int:
        """Returns how many trials count towards what was asked for: finished or pruned ones."""
        return len(self.trials(TrialState.COMPLETE, TrialState.PRUNED))

    def ask(self) -> optuna.Trial:
        """Begins the next trial: the first of those that were enqueued, or a new draw."""
        waiting = self.trials(TrialState.WAITING)
        self._seed_sampler(waiting[0].number if waiting else len(self.trials()))
        return self.study.ask()

    def resume(self, number: int) -> optuna.Trial:
        """Takes up a trial that is running and nobody's: what it drew and reported is kept."""
        self._seed_sampler(number)
        study_id = self.storage.get_study_id_from_name(self.spec.name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return optuna.Trial(self.study, trial_id)

    def tell(self, trial: optuna.Trial, result: Mapping[str, Any]) -> None:
        """Ends a trial: with a `value`, with an `error`, or with neither where it was pruned."""
        for key in result.keys() - {"value"}:
            trial.set_user_attr(key, result[key])
        failed, finished = "error" in result, "value" in result
        state = TrialState.FAIL if failed else TrialState.COMPLETE if finished else TrialState.PRUNED
        self.study.tell(trial, result.get("value"), state=state)

    def check_failures(self) -> None:
        """Raises TuningError where the last three trials that ended since `since` have all failed."""
        ended = [trial for trial in self.trials() if (trial.datetime_complete or self.since) > self.since]
        last = sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number))[-3:]
        if [trial.state for trial in last] == [TrialState.FAIL] * 3:
            raise TuningError(
                f"3 trials in a row failed, the last one trial {last[-1].number}: "
                f"{last[-1].user_attrs['error']}; fix it and repeat the command to continue"
            )

    def _seed_sampler(self, number: int) -> None:
        """Every trial has a sampler seed of its own, so that no start-up point is drawn twice."""
        seed = derive_seed(self.spec.seed, "sampler", number)
        self.study.sampler = make_sampler(self.spec.sampler, seed, self.spec.startup, self.spec.seed)


def open_study(spec: StudySpec, identity: Mapping[str, str] | None = None) -> OpenStudy:
    """Opens a study, or creates it where there is none of that name.

    Args:
        spec: where and how.
        identity: what all trials of a study have in common (search space, dataset, ...). Stored
            when the study is created; a continuation must bring the same. None: not checked.

    Raises: TuningError where the storage cannot be used or the identity differs.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(spec.storage)
    study = optuna.create_study(
        study_name=spec.name,
        storage=storage,
        pruner=make_pruner(spec.pruner, spec.epochs, spec.prune_after),
        direction="maximize",
        load_if_exists=True,
    )
    brought = dict(identity or {})
    if brought and IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, brought)
    known = study.user_attrs.get(IDENTITY, {})
    if differing := [key for key in sorted(brought) if known.get(key) != brought[key]]:
        said = "; ".join(f"{key} was {known.get(key)}, now {brought[key]}" for key in differing)
        raise TuningError(
            f"study {spec.name!r} in {mask_passwords(spec.storage)} cannot be continued: {said}; "
            "give another --study name"
        )
    return OpenStudy(spec, study, storage)


def make_sampler(name: str, seed: int, startup: int, study_seed: int) -> BaseSampler:
    """Creates a sampler by name.

    TPE is multivariate with groups, so that parameters only some trials have still get a joint density
    (Falkner et al. 2018), and counts running trials as bad ones (constant liar), which keeps parallel
    workers apart. Quasi-Monte-Carlo numbers its points in the storage and needs one seed for all.
    """
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "qmc":
            return optuna.samplers.QMCSampler(seed=study_seed, warn_independent_sampling=False)
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True
        )


def make_pruner(name: str, epochs: int, prune_after: int) -> BasePruner:
    """Creates a pruner by name; steps are epochs, from 1 on; median and third spare the first.

    median: after `prune_after` finished trials, stops a trial whose best AUC so far is below the median of
    the others at the same epoch (Golovin et al. 2017). third: the same, where it is not in the upper third.
    hyperband and halving: keep one of three at epochs 1, 3, 9, ... (Li et al. 2018), Hyperband with several
    such schedules at once. What each saves and costs: `benchmarks/tuning.py`.
    """
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=prune_after, n_warmup_steps=1)
    if name == "third":
        return optuna.pruners.PercentilePruner(100 / 3, n_startup_trials=prune_after, n_warmup_steps=1)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()
