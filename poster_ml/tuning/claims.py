"""Who runs which trial: exactly as many counted trials as were asked for, whoever is killed and when.

A counted trial is one that finished or was pruned. Everything follows from three facts about Optuna's
storages: numbers rise with the order of creation, a trial's state changes once from running to an end
state, and a trial can be created in state running with its attributes in one step. So:

- The budget: a running trial continues only if fewer than `budget` trials with lower numbers are running or
  counted. That number can only fall later on, so never more than `budget` trials get counted. A trial that
  came too late is closed as "surplus" before it starts (rare: two machines at the very end).
- Interruptions: a trial whose worker is dead is failed as "interrupted" and repeated with the same settings
  and seed, by the first that claims it (lowest number), at most `MAX_REPEATS` times.
- Errors: a trial whose objective raised is failed as "error", not counted and not repeated; a new one
  takes its place, until three in a row have failed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from poster_ml.errors import TuningError
from poster_ml.seeding import derive_seed
from poster_ml.tuning.space import Primitive
from poster_ml.tuning.study import OpenStudy

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
MAX_REPEATS = 3
FAILURES_IN_A_ROW = 3

INTERRUPTED = "interrupted"
ERROR = "error"
SURPLUS = "surplus"


@dataclass(frozen=True)
class Claim:
    """A trial that this worker is to run."""

    trial_id: int
    number: int
    root: int
    attempt: int
    seed: int


@dataclass
class Watch:
    """What one worker remembers of the others' trials between two looks (databases only).

    A trial whose worker died before its first heartbeat has none that could become stale; it is dead when it
    has been seen without for longer than the grace period, on this worker's own clock.
    """

    first_seen: dict[int, float] = field(default_factory=dict)

    def silent(self, number: int, grace: float) -> bool:
        """Whether a trial has been without any sign of life for too long."""
        return time.monotonic() - self.first_seen.setdefault(number, time.monotonic()) > grace


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials that count towards the budget."""
    return [trial for trial in trials if trial.state in COUNTED]


def reason(trial: FrozenTrial) -> str:
    """Returns why a failed trial failed; one failed by Optuna for lack of heartbeats was interrupted."""
    return str(trial.user_attrs.get("reason", INTERRUPTED))


def claim(
    opened: OpenStudy,
    budget: int,
    owner: str,
    points: Sequence[Mapping[str, Primitive]] = (),
    watch: Watch | None = None,
) -> Claim | None:
    """Takes the next trial: a repetition, an own setting not yet tried, or a new draw.

    Args:
        opened: the study.
        budget: counted trials the study is to have in all, at least 1.
        owner: unique name of this worker's process.
        points: settings to be tried first.
        watch: kept by a worker between its calls.

    Returns: the claim, or None where all places are taken: by counted trials, or by running ones.
    """
    watch = watch or Watch()
    while True:
        with opened.storage.claiming():
            fail_dead(opened, watch)
            trials = opened.trials()
            if _taken(trials) >= budget:
                return None
            template, root, attempt = _next(trials, points, owner)
            storage = opened.storage.optuna
            trial_id = storage.create_new_trial(opened.study_id, template)
        trials = opened.trials()
        mine = next(trial for trial in trials if trial._trial_id == trial_id)
        if _rightful(trials, mine, budget):
            return _announce(opened, trial_id, mine.number, mine.number if root is None else root, attempt)
        fail(opened, mine, SURPLUS)


def claim_point(
    opened: OpenStudy, owner: str, point: Mapping[str, Primitive], root: int | None, notes: Mapping[str, Any]
) -> Claim:
    """Creates a trial with settings that somebody else chose, for a search with one worker.

    Args:
        opened: the study.
        owner: unique name of this worker's process.
        point: what was drawn, by dimension name.
        root: number of the trial in whose folder it continues; None: its own.
        notes: stored with the trial; `origin` among them.
    """
    storage = opened.storage.optuna
    attributes = {"owner": owner, "attempt": 0, **notes}
    trial_id = storage.create_new_trial(opened.study_id, _template(attributes, dict(point)))
    number = storage.get_trial_number_from_id(trial_id)
    return _announce(opened, trial_id, number, number if root is None else root, 0)


def fail(opened: OpenStudy, trial: FrozenTrial, why: str, error: str = "") -> bool:
    """Ends a running trial as failed; False where it has ended otherwise meanwhile."""
    storage = opened.storage.optuna
    try:
        storage.set_trial_user_attr(trial._trial_id, "reason", why)
        if error:
            storage.set_trial_user_attr(trial._trial_id, "error", error[:2000])
        return bool(storage.set_trial_state_values(trial._trial_id, TrialState.FAIL))
    except UpdateFinishedTrialError:
        return False


def fail_dead(opened: OpenStudy, watch: Watch) -> None:
    """Fails the running trials whose workers are dead, so that they can be claimed again."""
    running = [trial for trial in opened.trials() if trial.state == TrialState.RUNNING]
    presence = opened.storage.presence
    if presence is not None:
        for trial in running:
            if not presence.alive(str(trial.user_attrs.get("owner", ""))):
                fail(opened, trial, INTERRUPTED)
        return
    if running:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(opened.study)
    for trial in running:
        if "beating" not in trial.user_attrs and watch.silent(trial.number, opened.spec.grace):
            fail(opened, trial, INTERRUPTED)


def release(opened: OpenStudy, owner: str) -> None:
    """Fails what a worker that is known to be dead was running; quicker than waiting for its heartbeats."""
    for trial in opened.trials():
        if trial.state == TrialState.RUNNING and trial.user_attrs.get("owner") == owner:
            fail(opened, trial, INTERRUPTED)


def check_failures(trials: Sequence[FrozenTrial], since: int) -> None:
    """Ends a search whose objective is broken.

    Args:
        trials: of the study.
        since: number of the first trial of this session; older failures may have been fixed.

    Raises: TuningError with the last error where three in a row have failed.
    """
    ended = [trial for trial in trials if trial.number >= since and trial.state.is_finished()]
    ended = [trial for trial in ended if trial.state in COUNTED or reason(trial) == ERROR]
    last = sorted(ended, key=lambda trial: str(trial.datetime_complete))[-FAILURES_IN_A_ROW:]
    if len(last) == FAILURES_IN_A_ROW and all(trial.state == TrialState.FAIL for trial in last):
        numbers = ", ".join(str(trial.number) for trial in last)
        raise TuningError(
            f"{FAILURES_IN_A_ROW} trials in a row failed ({numbers}), the last with: "
            f"{last[-1].user_attrs.get('error', 'no message')}; fix it and repeat the command to continue"
        )


def _announce(opened: OpenStudy, trial_id: int, number: int, root: int, attempt: int) -> Claim:
    """Stores what is known only once the trial has its number."""
    seed = derive_seed(opened.spec.seed, "trial", root)
    opened.storage.optuna.set_trial_user_attr(trial_id, "root", root)
    opened.storage.optuna.set_trial_user_attr(trial_id, "seed", seed)
    return Claim(trial_id, number, root, attempt, seed)


def _taken(trials: Sequence[FrozenTrial]) -> int:
    return sum(trial.state in COUNTED or trial.state == TrialState.RUNNING for trial in trials)


def _rightful(trials: Sequence[FrozenTrial], mine: FrozenTrial, budget: int) -> bool:
    """Whether a new trial is within the budget, and the first of its origin where that is not a draw."""
    earlier = [trial for trial in trials if trial.number < mine.number]
    origin = mine.user_attrs["origin"]
    if origin != "sampler" and any(trial.user_attrs.get("origin") == origin for trial in earlier):
        return False
    return _taken(earlier) < budget


def _next(
    trials: Sequence[FrozenTrial], points: Sequence[Mapping[str, Primitive]], owner: str
) -> tuple[FrozenTrial, int | None, int]:
    """Chooses what the next trial is; returns its template, its root (None: itself) and its attempt."""
    origins = {trial.user_attrs.get("origin") for trial in trials}
    for trial in trials:
        attempt = int(trial.user_attrs.get("attempt", 0)) + 1
        lost = trial.state == TrialState.FAIL and reason(trial) == INTERRUPTED
        origin = f"repeat of {trial.number}"
        if lost and attempt <= MAX_REPEATS and origin not in origins:
            root = int(trial.user_attrs.get("root", trial.number))
            fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            note = {
                "origin": origin,
                "owner": owner,
                "attempt": attempt,
                "retry_of": trial.number,
                "root": root,
            }
            return _template(note, fixed), root, attempt
    for index, point in enumerate(points):
        origin = f"own setting {index}"
        if origin not in origins:
            return _template({"origin": origin, "owner": owner, "attempt": 0}, dict(point)), None, 0
    return _template({"origin": "sampler", "owner": owner, "attempt": 0}, {}), None, 0


def _template(attributes: dict[str, Any], fixed: dict[str, Primitive]) -> FrozenTrial:
    """Describes a running trial; `fixed_params` is where `Study.enqueue_trial` keeps settings, too."""
    system = {"fixed_params": fixed} if fixed else {}
    return optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attributes, system_attrs=system)
