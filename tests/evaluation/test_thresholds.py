import numpy as np
import pytest

from poster_ml.evaluation.thresholds import choose_threshold
from tests.evaluation.scores import score

LABELS = np.array([0, 0, 0, 1, 0, 1, 1, 1])
PROBABILITIES = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.9])


def test_youden_has_the_best_balanced_accuracy_of_all_thresholds():
    random = np.random.default_rng(0)
    labels = (random.random(300) < 0.8).astype(int)
    probabilities = np.clip(random.normal(0.75 + 0.1 * labels, 0.1), 0, 1)
    chosen = choose_threshold(labels, probabilities, "youden")
    best = max(score(labels, probabilities, float(value))["balanced_accuracy"] for value in probabilities)
    assert score(labels, probabilities, chosen)["balanced_accuracy"] == pytest.approx(best, abs=1e-12)
    assert chosen > 0.6


@pytest.mark.parametrize(
    ("rule", "costs", "expected"),
    [
        ("half", {}, 0.5),
        # 0.25 misses nothing Fresh and makes one error; 0.5 lies between .4 and .6, and is the nearest to half.
        ("youden", {}, 0.5),
        ("cost", {"cost_false_rotten": 10.0}, 0.25),
        ("cost", {"cost_false_fresh": 10.0}, 0.5),
    ],
)
def test_each_rule_chooses_between_two_neighbours(rule, costs, expected):
    assert choose_threshold(LABELS, PROBABILITIES, rule, **costs) == pytest.approx(expected)


@pytest.mark.parametrize("rule", ["half", "youden", "cost"])
@pytest.mark.parametrize(
    "values", [0.0, 1.0, 5e-324, np.nextafter(1.0, 0.0), np.arange(8) % 2.0, PROBABILITIES]
)
def test_a_threshold_is_never_0_or_1_whatever_the_network_says(rule, values):
    for costs in ({}, {"cost_false_fresh": 1000.0}, {"cost_false_rotten": 1000.0}):
        assert 0.0 < choose_threshold(LABELS, np.full(8, values), rule, **costs) < 1.0


def test_no_threshold_inside_0_and_1_costs_less_than_the_chosen_one():
    random = np.random.default_rng(1)
    for _ in range(50):
        labels = np.r_[0, 1, random.integers(0, 2, 10)]
        probabilities = random.choice([0.0, 0.2, 0.5, 0.9, 1.0], 12)

        def cost(threshold: float, labels=labels, probabilities=probabilities) -> float:
            called = probabilities >= threshold
            return 10.0 * float((called & (labels == 0)).sum()) + float((~called & (labels == 1)).sum())

        chosen = choose_threshold(labels, probabilities, "cost", cost_false_fresh=10.0)
        assert cost(chosen) == min(cost(value) for value in np.linspace(0.001, 0.999, 999))
