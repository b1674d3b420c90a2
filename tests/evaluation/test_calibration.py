import numpy as np
import pytest
from scipy.special import expit

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.calibration import (
    TEMPERATURE_RANGE,
    choose_threshold,
    fit_temperature,
    logit,
    reliability_bins,
)
from tests.evaluation.scores import score
from tests.refusals import refusal


def calibrated(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(0.3, 1.2, count)
    return logits, (random.random(count) < expit(logits)).astype(int)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature):
    logits, labels = calibrated(20_000)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_calibrating_lowers_ece_and_log_loss_and_keeps_the_order():
    logits, labels = calibrated(4000)
    before = score(labels, expit(4 * logits))
    after = score(labels, expit(4 * logits / fit_temperature(4 * logits, labels)))
    assert after["ece"] < 0.3 * before["ece"]
    assert after["log_loss"] < before["log_loss"]
    assert after["roc_auc"] == before["roc_auc"]
    assert after["accuracy"] == before["accuracy"]


def test_the_temperature_stays_in_its_range_and_is_not_fitted_to_what_is_not_finite():
    logits, labels = np.array([-1.0, -2.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
    assert fit_temperature(logits, labels) == pytest.approx(TEMPERATURE_RANGE[0], rel=1e-3)
    assert fit_temperature(-logits, labels) == pytest.approx(TEMPERATURE_RANGE[1], rel=1e-3)
    said = refusal(EvaluationError, fit_temperature, np.array([0.0, np.inf]), np.array([0, 1]))
    assert said == "1 of 2 logits are not finite; the model diverged: lower the learning rate"


def test_logit_undoes_sigmoid_without_overflow():
    values = np.array([-30.0, -1.0, 0.0, 2.5])
    np.testing.assert_allclose(logit(expit(values)), values, rtol=1e-3)
    assert np.isfinite(logit([0.0, 1.0])).all()


def test_reliability_bins_add_up_to_the_ece_and_empty_ones_are_left_out():
    logits, labels = calibrated(500)
    probabilities = expit(2 * logits)
    bins = reliability_bins(labels, probabilities, confidence=0.95)
    total = (bins["count"] * (bins["fresh"] - bins["mean_probability"]).abs()).sum()
    assert bins["count"].sum() == 500
    assert total / 500 == pytest.approx(score(labels, probabilities)["ece"], abs=1e-12)
    few = reliability_bins([0, 1, 1], [0.1, 0.1, 0.9], confidence=0.95)
    assert few["count"].to_dict() == {1: 2, 13: 1}


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
        chosen = choose_threshold(labels, probabilities, "cost", cost_false_fresh=10.0)
        called = probabilities >= np.r_[chosen, np.linspace(0.001, 0.999, 999)][:, None]
        costs = 10 * (called & (labels == 0)).sum(axis=1) + (~called & (labels == 1)).sum(axis=1)
        assert costs[0] == costs.min()
