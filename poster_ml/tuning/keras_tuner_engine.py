"""The second engine: KerasTuner's Hyperband over the same spaces and the same objective, in this process.

KerasTuner decides what is tried, and continues by its own files. Each trial that ended is added to the Optuna
study, so history, importance, figures, MLflow and the dashboard are the same for both engines. Two habits of
KerasTuner are not taken over: an error is stored with its trial and shown, and three in a row end the search.
"""

from __future__ import annotations

import contextlib
import datetime
import io
from collections.abc import Callable
from typing import Any

import keras_tuner
from keras_tuner.errors import FailedTrialError
from optuna.trial import FixedTrial, TrialState, create_trial

from poster_ml.config import SearchSpace
from poster_ml.errors import TuningError
from poster_ml.seeding import derive_seed
from poster_ml.tuning.records import MORE_OVERRIDES
from poster_ml.tuning.search import Failures, Job, run_objective
from poster_ml.tuning.space import dimensions_of, suggest
from poster_ml.tuning.study import OpenStudy
from poster_ml.tuning.trial import TrialContext

OBJECTIVE = "val_auc"
IDENTIFIER = "keras_tuner_id"


class _EnoughError(Exception):
    """Ends KerasTuner's loop, which has no other way out."""


class _Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    """KerasTuner's loop around our objective."""

    def __init__(self, job: Job, opened: OpenStudy, after_trial: Callable[[], None]) -> None:
        self._job, self._opened, self._after_trial = job, opened, after_trial
        self._failures = Failures()
        oracle = keras_tuner.oracles.HyperbandOracle(
            objective=keras_tuner.Objective(OBJECTIVE, direction="max"),
            max_epochs=opened.spec.epochs,
            factor=3,
            hyperband_iterations=None,  # rounds are repeated until enough trials count
            seed=1 + derive_seed(opened.spec.seed, "keras-tuner"),  # 0 would be none
            hyperparameters=hyperparameters(job.space),
            allow_new_entries=False,
            max_consecutive_failed_trials=10**9,  # `Failures` decides
        )
        oracle.verbose = 0
        super().__init__(oracle, directory=str(job.folder), project_name="keras-tuner")
        self.save()  # from now on there is something to continue

    def pre_create_trial(self) -> None:
        """Ends the search where enough trials count, the deadline has passed or the objective is broken."""
        self._failures.check()
        if self._opened.counted() >= self._job.trials or self._job.late:
            raise _EnoughError

    def run_trial(self, trial: Any, *arguments: Any, **options: Any) -> dict[str, float]:
        """Runs one trial and adds it to the study, unless a command that died had got so far."""
        known = {one.user_attrs.get(IDENTIFIER): one for one in self._opened.trials()}
        if trial.trial_id not in known:
            self._run(trial.trial_id, dict(trial.hyperparameters.values))
            known[trial.trial_id] = self._opened.trials()[-1]
        one = known[trial.trial_id]
        if one.value is None:
            raise FailedTrialError(str(one.user_attrs["error"]))
        return {OBJECTIVE: one.value}

    def _run(self, identifier: str, asked: dict[str, Any]) -> None:
        """Runs a trial; one that Hyperband promotes works in the folder of the one it continues."""
        root, parent = identifier, asked.get("tuner/trial_id")
        while parent:
            root, parent = parent, self.oracle.trials[parent].hyperparameters.values.get("tuner/trial_id")
        fixed = FixedTrial(
            {dimension.name: asked[dimension.name] for dimension in dimensions_of(self._job.space)}
        )
        overrides = suggest(fixed, self._job.space)
        more = {"train.epochs": int(asked["tuner/epochs"])} if "tuner/epochs" in asked else {}
        seed, folder = derive_seed(self._opened.spec.seed, "trial", root), self._job.folder / f"trial-{root}"
        folder.mkdir(parents=True, exist_ok=True)
        curve: dict[int, float] = {}

        def report(epoch: int, value: float) -> bool:
            curve[epoch] = value
            return False  # Hyperband stops by rounds

        number, began = len(self._opened.trials()), datetime.datetime.now()
        context = TrialContext(number, overrides | more, seed, folder, report)
        result = run_objective(self._job.objective, context)
        value = result.pop("value", None)
        ended = create_trial(
            state=TrialState.FAIL if value is None else TrialState.COMPLETE,
            value=value,
            params=fixed.params,
            distributions=fixed.distributions,
            user_attrs={IDENTIFIER: identifier, MORE_OVERRIDES: more, "seed": seed, **result},
            intermediate_values=curve,
        )
        ended.datetime_start = began
        self._opened.study.add_trial(ended)
        self._failures.note(number, result.get("error", ""))
        self._after_trial()


def run_keras_tuner(job: Job, opened: OpenStudy, after_trial: Callable[[], None] = lambda: None) -> None:
    """Runs Hyperband until the study has `job.trials` counted trials, or the deadline has passed.

    Args:
        job: what to search; its `points` are not used, since Hyperband draws its own.
        opened: the study, locked by this command.
        after_trial: called after each new trial.

    Raises: TuningError where three trials in a row failed, where KerasTuner's files cannot be read, or where
        a small space has no further point.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it continues
            tuner = _Tuner(job, opened, after_trial)
    except (ValueError, KeyError, RuntimeError) as error:
        raise TuningError(
            f"KerasTuner's files in {job.folder} cannot be read ({error}); give another --study name"
        ) from error
    with contextlib.suppress(_EnoughError):
        tuner.search()
        raise TuningError(
            f"KerasTuner found no further settings after {opened.counted()} of {job.trials} trials: the "
            "space is too small; widen a range or ask for fewer --trials"
        )


def hyperparameters(space: SearchSpace) -> Any:
    """Expresses a space as KerasTuner's HyperParameters, by the same names."""
    result = keras_tuner.HyperParameters()
    for one in dimensions_of(space):
        sampling = "log" if one.log else "linear"
        if one.kind == "choice":
            result.Choice(one.name, list(one.choices))
        elif one.kind == "int":
            step = None if one.log else int(one.step)
            result.Int(one.name, int(one.low), int(one.high), step=step, sampling=sampling)
        else:
            result.Float(one.name, one.low, one.high, step=one.step or None, sampling=sampling)
    return result
