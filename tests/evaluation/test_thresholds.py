from __future__ import annotations

import numpy as np
import pytest

from poster_ml.evaluation.metrics import score
from poster_ml.evaluation.thresholds import choose_threshold

LABELS = np.array([0, 0, 0, 1, 0, 1, 1, 1])
PROBABILITIES = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.9])


def test_half_is_half() -> None:
    assert choose_threshold(LABELS, PROBABILITIES, "half") == 0.5


def test_youden_has_the_best_balanced_accuracy_of_all_thresholds() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(300) < 0.8).astype(int)
    probabilities = np.clip(random.normal(0.75 + 0.1 * labels, 0.1), 0, 1)
    chosen = choose_threshold(labels, probabilities, "youden")
    best = max(score(labels, probabilities, float(value))["balanced_accuracy"] for value in probabilities)
    assert score(labels, probabilities, chosen)["balanced_accuracy"] == pytest.approx(best, abs=1e-12)
    assert chosen > 0.6


def test_among_equals_the_one_nearest_to_half_is_taken() -> None:
    # 0.25 misses nothing Fresh and makes one error; 0.5 lies between .4 and .6 and makes one as well.
    assert choose_threshold(LABELS, PROBABILITIES, "youden") == pytest.approx(0.5)


def test_a_dear_false_fresh_raises_the_threshold() -> None:
    low = choose_threshold(LABELS, PROBABILITIES, "cost", cost_false_rotten=10.0)
    high = choose_threshold(LABELS, PROBABILITIES, "cost", cost_false_fresh=10.0)
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.5)


def test_useless_predictions_and_a_high_cost_call_nothing_fresh() -> None:
    labels, probabilities = np.array([1, 0, 0, 0]), np.array([0.2, 0.3, 0.4, 0.5])
    assert choose_threshold(labels, probabilities, "cost", cost_false_fresh=5.0) == 1.0


def test_wrong_arguments_are_echoed() -> None:
    with pytest.raises(ValueError, match="rule must be one of half, youden, cost, got rule='best'"):
        choose_threshold(LABELS, PROBABILITIES, "best")
    with pytest.raises(ValueError, match="cost_false_fresh=0"):
        choose_threshold(LABELS, PROBABILITIES, "cost", cost_false_fresh=0)
