"""Which parameters mattered: importances with intervals over repeats on resampled trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from poster_ml.errors import TuningError
from poster_ml.seeding import derive_seed, generator
from poster_ml.tuning.study import OpenStudy

FEWEST_TRIALS = 5
TREES = 16  # of Optuna's 64: the repeats average over forests, and a search of 25 trials waits 3 s, not 12


@dataclass(frozen=True)
class Importance:
    """Share of the variation that one dimension explains, in [0, 1]; all of them sum to 1.

    `low` and `high` bound the middle 90 % over the repeats.
    """

    name: str
    mean: float
    low: float
    high: float


def importances(opened: OpenStudy, repeats: int = 30, seed: int = 0) -> list[Importance]:
    """Computes how much each dimension explains of the differences between finished trials (fANOVA).

    Every repeat draws as many trials as there are, with replacement (bootstrap), and fits anew with a seed of
    its own: the interval holds what the choice of trials and the forest leave open. Pruned trials stay out:
    their values are of other epochs.

    Args:
        opened: the study.
        repeats: at least 2.
        seed: of the draws and forests.

    Returns: one per dimension that was varied, the most important first.
    Raises: TuningError where fewer than `FEWEST_TRIALS` trials finished, or all have one value.
    """
    finished = [trial for trial in opened.trials() if trial.state == TrialState.COMPLETE]
    if len(finished) < FEWEST_TRIALS or len({trial.value for trial in finished}) < 2:
        raise TuningError(
            f"importance needs at least {FEWEST_TRIALS} finished trials with different values, received "
            f"{len(finished)}; run more trials or prune less"
        )
    names = [name for name in finished[0].params if len({trial.params.get(name) for trial in finished}) > 1]
    shares: list[list[float]] = []
    for repeat in range(repeats):
        sample = _resample(finished, generator(seed, "importance", repeat))
        evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=derive_seed(seed, "forest", repeat))
        found = get_param_importances(sample, evaluator=evaluator)
        shares.append([found.get(name, 0.0) for name in names])
    low, high = np.quantile(shares, [0.05, 0.95], axis=0)  # (dimensions,) each
    result = [
        Importance(name, float(mean), float(low[index]), float(high[index]))
        for index, (name, mean) in enumerate(zip(names, np.mean(shares, axis=0), strict=True))
    ]
    return sorted(result, key=lambda importance: -importance.mean)


def _resample(trials: Sequence[FrozenTrial], draws: np.random.Generator) -> optuna.Study:
    """Makes a study in memory of trials drawn with replacement, not all of them the same."""
    while True:
        chosen = [trials[index] for index in draws.integers(0, len(trials), len(trials))]
        if len({trial.value for trial in chosen}) > 1:
            break
    study = optuna.create_study(direction="maximize")
    study.add_trials(chosen)
    return study
