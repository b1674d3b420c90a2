"""The second engine: KerasTuner's Hyperband or random search over the same spaces and the same objective.

KerasTuner decides what is tried; every trial is kept in the same Optuna storage as those of the first engine,
so history, importance, figures and the dashboard are the same. Two of its habits are not taken over:

- Continuing: it silently reloads its own files, which a kill can leave half written. Here its oracle is
  rebuilt by replaying, in order, what the storage knows; with the same seed it asks for the same
  settings, and that is checked.
- Errors: it turns exceptions into the state INVALID and continues. Here the error is stored with the trial
  and shown, and three in a row end the search.

A trial that Hyperband promotes is a trial of its own, which works in the folder of the one it continues.
One process runs the search: KerasTuner's own parallelism needs a chief that must not die.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras_tuner
from keras_tuner.errors import FailedTrialError, FatalError
from optuna.trial import FrozenTrial, TrialState

from poster_ml.config import SearchSpace
from poster_ml.errors import TuningError, nearest
from poster_ml.seeding import derive_seed
from poster_ml.tuning.claims import (
    COUNTED,
    ERROR,
    Watch,
    check_failures,
    claim_point,
    counted,
    fail_dead,
    reason,
)
from poster_ml.tuning.space import Dimension, Primitive, dimensions_of
from poster_ml.tuning.study import OpenStudy, make_pruner
from poster_ml.tuning.work import DONE, LATE, MORE_OVERRIDES, Job, new_owner, run_trial

TUNERS = ("hyperband", "random")
OBJECTIVE = "val_auc"
KERAS_TUNER_ID = "keras_tuner_id"


class _EnoughError(Exception):
    """Ends KerasTuner's loop, which has no other way out."""


class _ChangedError(FatalError):
    """KerasTuner asks for other settings than it did; a FatalError, which it lets through."""


@dataclass
class Search:
    """A search while it runs: first the past is replayed, then new trials are run."""

    opened: OpenStudy
    job: Job
    after_trial: Callable[[], None]
    past: deque[FrozenTrial]
    owner: str
    ended: str = DONE

    def check(self) -> None:
        """Ends the search where enough trials count, the deadline has passed or the objective is broken."""
        if self.past:
            return
        trials = self.opened.trials()
        check_failures(trials, self.job.since)
        late = bool(self.job.deadline) and time.time() > self.job.deadline
        if len(counted(trials)) >= self.job.trials or late:
            self.ended = DONE if len(counted(trials)) >= self.job.trials else LATE
            raise _EnoughError

    def value(self, identifier: str, asked: dict[str, Any]) -> float:
        """Returns the value of the settings that KerasTuner asks for: from the past, or by running them."""
        point = {dimension.name: asked[dimension.name] for dimension in dimensions_of(self.job.space)}
        if self.past:
            trial = self.past.popleft()
            if trial.params != point:
                raise _ChangedError(
                    f"study {self.opened.spec.name!r} cannot be continued: KerasTuner asks for {point} where "
                    f"trial {trial.number} had {trial.params} (another version?); give another --study name"
                )
        else:
            trial = self._run(identifier, point, asked)
            self.after_trial()
        if trial.value is None or trial.state not in COUNTED:
            raise FailedTrialError(str(trial.user_attrs.get("error", "failed")))
        return trial.value

    def _run(self, identifier: str, point: dict[str, Primitive], asked: dict[str, Any]) -> FrozenTrial:
        notes: dict[str, Any] = {KERAS_TUNER_ID: identifier, "origin": "keras-tuner"}
        if "tuner/epochs" in asked:
            notes[MORE_OVERRIDES] = {"train.epochs": int(asked["tuner/epochs"])}
            notes["origin"] = f"bracket {asked['tuner/bracket']}, round {asked['tuner/round']}"
        parent = asked.get("tuner/trial_id") or identifier  # promoted, or perhaps interrupted before
        claimed = claim_point(self.opened, self.owner, point, self._root(parent), notes)
        run_trial(self.opened, self.job, claimed)
        return self.opened.trials()[claimed.number]

    def _root(self, identifier: str) -> int | None:
        """Finds the trial in whose folder the settings of a KerasTuner trial began."""
        for trial in self.opened.trials():
            if trial.user_attrs.get(KERAS_TUNER_ID) == identifier:
                return int(trial.user_attrs.get("root", trial.number))
        return None


class _Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    """KerasTuner's loop around our objective."""

    def __init__(self, search: Search, oracle: Any, folder: str) -> None:
        super().__init__(oracle, directory=folder, project_name="search", overwrite=True)
        self._search = search
        self.oracle.verbose = 0

    def pre_create_trial(self) -> None:
        """Is asked before each trial."""
        self._search.check()

    def run_trial(self, trial: Any, *arguments: Any, **options: Any) -> dict[str, float]:
        """Runs one trial; its errors are known to the storage by then."""
        return {OBJECTIVE: self._search.value(trial.trial_id, dict(trial.hyperparameters.values))}


def run_keras_tuner(
    job: Job, opened: OpenStudy, tuner: str = "hyperband", after_trial: Callable[[], None] = lambda: None
) -> str:
    """Runs a study with KerasTuner in this process until it has `job.trials` counted trials.

    Args:
        job: what to search; its `points` are not used, since Hyperband draws its own.
        opened: the study, whose pruner is set aside: Hyperband stops trials by rounds.
        tuner: one of `TUNERS`.
        after_trial: called after each new trial.

    Returns: "done", or "late" where the deadline came first.
    Raises: TuningError where three trials in a row failed, where a continuation would differ, or where a
        small space has no further point.
    """
    if tuner not in TUNERS:
        raise TuningError(
            f"unknown tuner {tuner!r}{nearest(tuner, TUNERS)}: choose one of {', '.join(TUNERS)}"
        )
    opened.study.pruner = make_pruner("none", 1, 0)
    owner = new_owner()
    with opened.storage.present(owner), tempfile.TemporaryDirectory() as folder:
        fail_dead(opened, Watch())
        past = [trial for trial in opened.trials() if trial.state in COUNTED or _failed(trial)]
        search = Search(opened, job, after_trial, deque(past), owner)
        try:
            _Tuner(search, _oracle(tuner, job), folder).search()
        except _EnoughError:
            return search.ended
        except _ChangedError as error:
            raise TuningError(str(error)) from error
    found = len(counted(opened.trials()))
    raise TuningError(
        f"KerasTuner found no further settings after {found} of {job.trials} trials: the space is too small; "
        "widen a range or ask for fewer --trials"
    )


def hyperparameters(space: SearchSpace) -> Any:
    """Expresses a space as KerasTuner's HyperParameters, by the same names."""
    result = keras_tuner.HyperParameters()
    for dimension in dimensions_of(space):
        _declare(result, dimension)
    return result


def _declare(result: Any, dimension: Dimension) -> None:
    if dimension.kind == "choice":
        result.Choice(dimension.name, list(dimension.choices))
        return
    sampling = "log" if dimension.log else "linear"
    if dimension.kind == "int":
        step = None if dimension.log else int(dimension.step)
        result.Int(dimension.name, int(dimension.low), int(dimension.high), step=step, sampling=sampling)
    else:
        step_or_none = dimension.step or None
        result.Float(dimension.name, dimension.low, dimension.high, step=step_or_none, sampling=sampling)


def _oracle(tuner: str, job: Job) -> Any:
    shared = {
        "objective": keras_tuner.Objective(OBJECTIVE, direction="max"),
        # KerasTuner takes 0 for "no seed" and draws one.
        "seed": 1 + derive_seed(job.spec.seed, "keras-tuner"),
        "hyperparameters": hyperparameters(job.space),
        "allow_new_entries": False,
        "max_consecutive_failed_trials": 10**9,  # `check_failures` decides
    }
    if tuner == "random":
        return keras_tuner.oracles.RandomSearchOracle(max_trials=10**6, **shared)
    # No end of its own: rounds are repeated until enough trials count.
    return keras_tuner.oracles.HyperbandOracle(
        max_epochs=job.spec.epochs, factor=3, hyperband_iterations=None, **shared
    )


def _failed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and reason(trial) == ERROR
