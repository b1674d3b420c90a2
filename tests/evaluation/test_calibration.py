import numpy as np
import pytest
from scipy.special import expit

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.calibration import TEMPERATURE_RANGE, fit_temperature, logit, reliability_bins
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
    few = reliability_bins([0, 1, 1], [0.1, 0.1, 0.9], bins=10, confidence=0.95)
    assert few["count"].to_dict() == {0: 2, 8: 1}
