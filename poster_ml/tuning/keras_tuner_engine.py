"""The second engine: KerasTuner's Hyperband over the same spaces and the same objective, in this process.

KerasTuner decides what is tried, and continues by its own files. Each trial that ended is added to
the Optuna study, so table, figures, MLflow and the dashboard are the same for both engines.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from datetime import datetime
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from poster_ml.errors import TuningError
from poster_ml.search_space import SearchSpace
from poster_ml.seeding import derive_seed
from poster_ml.tuning.search import Job
from poster_ml.tuning.space import dimensions_of, suggest
from poster_ml.tuning.study import OpenStudy
from poster_ml.tuning.trial import TrialContext, run_objective

OBJECTIVE = "val_auc"
IDENTIFIER = "keras_tuner_id"


def run_keras_tuner(job: Job, opened: OpenStudy, after_trial: Callable[[], None] = lambda: None) -> None:
    """Runs Hyperband until the study has `job.trials` counted trials, or the deadline has passed.

    Args:
        job: what to search; its `points` are not used, since Hyperband draws its own.
        opened: the study, locked by this command.
        after_trial: called after each new trial.

    Raises: TuningError where three trials in a row failed, where KerasTuner's files cannot be read,
        or where a small space has no further point.
    """
    oracle = _open_oracle(job, opened)
    while opened.counted() < job.trials and not job.late:
        asked = oracle.create_trial("search")
        if asked.status != TrialStatus.RUNNING:
            raise TuningError(
                f"KerasTuner found no further settings after {opened.counted()} of {job.trials} trials: the "
                "space is too small; widen a range or ask for fewer --trials"
            )
        # A command that died may have run it, and not have told KerasTuner.
        if asked.trial_id not in {trial.user_attrs[IDENTIFIER] for trial in opened.trials()}:
            opened.study.add_trial(_run(job, opened, oracle, asked))
            after_trial()
        (ended,) = (one for one in opened.trials() if one.user_attrs[IDENTIFIER] == asked.trial_id)
        asked.status = TrialStatus.FAILED
        if ended.value is not None:
            oracle.update_trial(asked.trial_id, {OBJECTIVE: ended.value})
            asked.status = TrialStatus.COMPLETED
        oracle.end_trial(asked)
        opened.check_failures()


def _open_oracle(job: Job, opened: OpenStudy) -> Any:
    """Returns KerasTuner's Hyperband, continued by its files where there are any."""
    oracle = keras_tuner.oracles.HyperbandOracle(
        objective=keras_tuner.Objective(OBJECTIVE, direction="max"),
        max_epochs=opened.spec.epochs,
        factor=3,
        hyperband_iterations=None,  # rounds are repeated until enough trials count
        seed=1 + derive_seed(opened.spec.seed, "keras-tuner"),  # 0 would be none
        hyperparameters=hyperparameters(job.space),
        allow_new_entries=False,
        max_consecutive_failed_trials=10**9,  # `check_failures` decides
    )
    oracle.verbose = 0
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it continues
            files = {"directory": job.folder, "project_name": "keras-tuner"}
            keras_tuner.engine.base_tuner.BaseTuner(oracle, **files).save()
    except (ValueError, KeyError, RuntimeError) as error:
        raise TuningError(
            f"KerasTuner's files in {job.folder} cannot be read ({error}); give another --study name"
        ) from error
    return oracle


def _run(job: Job, opened: OpenStudy, oracle: Any, asked: Any) -> FrozenTrial:
    """Runs a trial; one that Hyperband promotes works in the folder of the one it continues."""
    values, root = asked.hyperparameters.values, asked
    while parent := root.hyperparameters.values.get("tuner/trial_id"):
        root = oracle.trials[parent]
    fixed = FixedTrial({name: values[name] for name in dimensions_of(job.space)})
    overrides = suggest(fixed, job.space)
    if "tuner/epochs" in values:
        overrides["train.epochs"] = int(values["tuner/epochs"])
    seed = derive_seed(opened.spec.seed, "trial", root.trial_id)
    folder = job.folder / f"trial-{root.trial_id}"
    folder.mkdir(parents=True, exist_ok=True)
    curve: dict[int, float] = {}

    def report(epoch: int, value: float) -> bool:
        curve[epoch] = value
        return False  # Hyperband stops by rounds

    began, number = datetime.now(), len(opened.trials())
    result = run_objective(job.objective, TrialContext(number, overrides, seed, folder, report))
    value = result.pop("value", None)
    ended = create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params=fixed.params,
        distributions=fixed.distributions,
        user_attrs={IDENTIFIER: asked.trial_id, "seed": seed, **result},
        intermediate_values=curve,
    )
    ended.datetime_start = began
    return ended


def hyperparameters(space: SearchSpace) -> Any:
    """Expresses a space as KerasTuner's HyperParameters, by the same names."""
    result = keras_tuner.HyperParameters()
    for name, one in dimensions_of(space).items():
        if isinstance(one, CategoricalDistribution):
            result.Choice(name, list(one.choices))
            continue
        number = result.Int if isinstance(one, IntDistribution) else result.Float
        step, sampling = (None, "log") if one.log else (one.step, "linear")
        number(name, one.low, one.high, step=step, sampling=sampling)
    return result
