import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.metrics import METRIC_NAMES, weighted_scores
from tests.evaluation.scores import score
from tests.refusals import refusal


def naive_ece(labels: np.ndarray, probabilities: np.ndarray) -> float:
    bins = pandas.cut(probabilities, np.arange(16) / 15, include_lowest=True)
    gaps = pandas.Series(labels - probabilities).groupby(bins, observed=True).sum()
    return gaps.abs().sum() / len(labels)


def assert_equals_sklearn(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> None:
    found = score(labels, probabilities, threshold)
    called = (probabilities >= threshold).astype(int)
    expected = {
        "accuracy": reference.accuracy_score(labels, called),
        "roc_auc": reference.roc_auc_score(labels, probabilities),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, called),
        "average_precision": reference.average_precision_score(labels, probabilities),
        "f1": reference.f1_score(labels, called, zero_division=0.0),
        "log_loss": reference.log_loss(labels, probabilities),
        "brier": reference.brier_score_loss(labels, probabilities),
        "ece": naive_ece(labels, probabilities),
    }
    assert tuple(found) == METRIC_NAMES
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9, rel=0), name


@pytest.mark.parametrize("decimals", [1, 2, 16])
@pytest.mark.parametrize("threshold", [0.0, 0.37, 0.5, 1.0])
def test_every_metric_equals_sklearn_with_and_without_ties(decimals, threshold):
    random = np.random.default_rng(decimals)
    labels = (random.random(700) < 0.58).astype(int)
    probabilities = np.clip(random.normal(0.5 + 0.1 * (labels - 0.5), 0.3), 0, 1).round(decimals)
    assert_equals_sklearn(labels, probabilities, threshold)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0.001, 0.999)), min_size=2, max_size=40).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
@settings(max_examples=60, deadline=None)
def test_any_small_set_equals_sklearn(rows):
    labels, values = zip(*rows, strict=True)
    assert_equals_sklearn(np.array(labels), np.array(values), 0.5)


def test_a_weight_of_two_is_the_same_as_the_poster_twice():
    random = np.random.default_rng(3)
    labels = np.r_[0, 1, (random.random(60) < 0.5).astype(int)]
    probabilities = random.random(62).round(1)
    weights = np.r_[1, 1, random.integers(0, 4, 60)]
    found = weighted_scores(labels, probabilities, 0.4, weights[None].astype(float))
    repeated = score(np.repeat(labels, weights), np.repeat(probabilities, weights), 0.4)
    for name in METRIC_NAMES:
        assert found[name][0] == pytest.approx(repeated[name], abs=1e-12), name


def test_certain_and_wrong_predictions_have_a_finite_log_loss():
    found = score(np.array([0, 1]), np.array([1.0, 0.0]))
    assert found["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))
    assert found["roc_auc"] == 0.0
    assert found["ece"] == 1.0


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([1] * 12, [0.5] * 12,
         "all 12 labels are 1: metrics need both classes; evaluate a split that has both"),
        ([], [], "there are no posters to evaluate; choose a split that has some"),
        ([0, 1, 1], [0.2, np.nan, 0.4],
         "1 of 3 probabilities are NaN; the model diverged: lower the learning rate"),
        ([0, 1], [-1.5, 3.0],
         "2 of 2 probabilities are outside [0, 1], first -1.5; pass probabilities, not logits"),
        ([0, 1, 2], [0.5] * 3, "labels must be 0 (Rotten) or 1 (Fresh), got 2; fix the label column"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused_in_one_line(labels, probabilities, message):
    assert refusal(EvaluationError, score, np.array(labels), np.array(probabilities)) == message
