from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_1samp
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from poster_ml.evaluation.metrics import METRIC_NAMES, metrics_with_intervals
from poster_ml.evaluation.stats import (
    Interval,
    Ranking,
    accuracy_interval,
    auc_gap,
    auc_interval,
    bootstrap_weights,
    delong_difference,
    delong_interval,
    holm,
    mcnemar,
    mean_interval,
    paired_accuracy_difference,
    structural_components,
    wilson_interval,
)
from tests.evaluation.scores import score


def predictions(count: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (np.arange(count) < 0.6 * count).astype(int)
    return labels, 1 / (1 + np.exp(-(strength * (labels - 0.5) + random.normal(size=count))))


def intervals(
    labels: np.ndarray, values: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    options = {"threshold": 0.5, "repeats": 200, "confidence": confidence, "seed": seed}
    return metrics_with_intervals(labels, values, **options)


def test_resamples_keep_the_number_of_each_class_or_change_it_but_never_lose_one():
    labels = np.array([0, 1, 1, 1])
    kept, drawn = (
        np.concatenate([*bootstrap_weights(labels, 400, 0, stratified=stratified)])
        for stratified in (True, False)
    )
    assert (set(kept @ labels), set(drawn @ labels)) == ({3}, {1, 2, 3})
    for weights in (kept, drawn):
        assert weights.shape == (400, 4)
        assert (weights.sum(axis=1) == 4).all()
        assert weights.max() > 1


def test_all_metrics_have_an_interval_around_the_estimate():
    labels, probabilities = predictions(400, 1.0, 0)
    estimates = score(labels, probabilities)
    found = intervals(labels, probabilities)
    assert tuple(found) == METRIC_NAMES
    for name, interval in found.items():
        assert interval.estimate == pytest.approx(estimates[name], abs=1e-12)
        assert interval.low <= interval.estimate <= interval.high
        assert interval.high - interval.low < 0.2
    assert intervals(labels, probabilities) == found
    assert intervals(labels, probabilities, seed=1)["brier"] != found["brier"]
    assert intervals(labels, probabilities, confidence=0.8)["brier"].low > found["brier"].low
    right = int(((probabilities >= 0.5) == labels).sum())
    assert found["accuracy"] == wilson_interval(right, 400, 0.95)
    assert found["roc_auc"] == delong_interval(labels, probabilities, 0.95)


def test_placement_values_equal_the_definition_by_pairs():
    random = np.random.default_rng(1)
    labels = np.r_[np.ones(9, int), np.zeros(14, int)]
    scores = random.integers(0, 6, 23).astype(float)  # many ties
    auc, below, above = structural_components(labels, scores)
    kernel = (scores[:9, None] > scores[None, 9:]) + 0.5 * (scores[:9, None] == scores[None, 9:])
    np.testing.assert_allclose(below, kernel.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(above, kernel.mean(axis=0), atol=1e-12)
    assert auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_perfect_separation_and_single_posters_are_not_taken_for_certainty():
    interval = delong_interval([0, 0, 0, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5, 6], 0.95)
    assert (interval.estimate, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(0.025 ** (1 / 3))
    assert delong_interval([1, 1, 0, 0], [0, 1, 2, 3], 0.95).low == 0.0
    alone = delong_interval([1, 0, 0, 0, 0], [0.4, 0.1, 0.5, 0.2, 0.3], 0.95)
    assert alone.low < 0.4
    assert alone.high > 0.9


def test_delong_intervals_cover_as_often_as_they_say():
    random = np.random.default_rng(1)
    truth = norm.cdf(1 / np.sqrt(2))  # of two normals one standard deviation apart
    labels = np.repeat([0, 1], [60, 90])
    scores = labels + random.normal(size=(1000, 150))
    inside = [not delong_interval(labels, row, 0.95).excludes(truth) for row in scores]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_the_paired_difference_is_sharper_than_two_intervals():
    labels, first = predictions(500, 1.0, 3)
    second = np.clip(first + np.random.default_rng(0).normal(0, 0.02, 500), 0, 1)
    difference, p_value = delong_difference(labels, first, second, 0.95)
    alone = delong_interval(labels, first, 0.95)
    assert difference.high - difference.low < 0.3 * (alone.high - alone.low)
    assert 0 < p_value <= 1
    mirrored, same_p_value = delong_difference(labels, second, first, 0.95)
    assert mirrored.estimate == pytest.approx(-difference.estimate)
    assert same_p_value == pytest.approx(p_value)
    assert delong_difference(labels, first, 3 * first + 1, 0.95) == (Interval(0.0, 0.0, 0.0), 1.0)


def test_wilson_equals_the_published_example():
    # Newcombe 1998, table I: 15 of 148.
    interval = wilson_interval(15, 148, 0.95)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0624, 0.1605)
    assert wilson_interval(0, 10, 0.95).low == 0.0
    assert wilson_interval(10, 10, 0.95).high == 1.0


def test_an_interval_is_printed_logged_and_read_back():
    interval = Interval(0.0521, 0.0301, 0.0747)
    assert interval.text(sign=True) == "+0.052 (+0.030 to +0.075)"
    assert (interval.excludes(0.0), interval.excludes(0.05)) == (True, False)
    assert Interval.of(interval.columns("gain"), "gain") == interval


def test_a_calibrated_model_may_have_an_ece_of_zero_and_a_bad_one_not():
    random = np.random.default_rng(1)
    probabilities = random.random(1500)
    labels = (random.random(1500) < probabilities).astype(int)
    good, bad = (intervals(labels, values)["ece"] for values in (probabilities, probabilities**3))
    assert good.estimate > 0
    assert good.low == 0.0
    # E|p - p^3| over a uniform p is 1/4.
    assert 0.2 < bad.low < 0.25 < bad.high


@pytest.mark.parametrize(("probability", "right"), [(0.2, 10), (0.9, 60)])
def test_a_model_that_calls_every_poster_the_same_is_not_taken_for_certain(probability, right):
    """Resamples that keep the class counts all show the same: 0.857 (0.857 to 0.857), which is not an interval."""
    found = intervals(np.repeat([1, 0], [60, 10]), np.full(70, probability))
    for name, interval in found.items():
        assert interval.low <= interval.estimate <= interval.high, name
        assert 0.01 < interval.high - interval.low < 0.7, name
    assert found["accuracy"] == wilson_interval(right, 70, 0.95)
    assert found["roc_auc"].low < 0.5 < found["roc_auc"].high


def test_a_perfect_model_is_not_taken_for_certain_either():
    labels = np.repeat([1, 0], [30, 20])
    found = intervals(labels, np.where(labels == 1, 0.8, 0.3) + 0.001 * np.arange(50))
    for name in ("accuracy", "roc_auc", "balanced_accuracy", "average_precision", "f1"):
        assert found[name].estimate == found[name].high == 1.0, name
        assert 0.7 < found[name].low < 0.95, name


def test_a_mean_of_few_posters_has_students_interval_and_covers_as_often_as_it_says():
    random = np.random.default_rng(0)
    values = random.normal(0.1, 0.2, 16)
    found, p_value = mean_interval(values, 0.9)
    expected = ttest_1samp(values, 0.0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert p_value == pytest.approx(expected.pvalue)
    # One poster says nothing of the mean.
    assert mean_interval([0.3], 0.95) == (Interval(0.3, -1.0, 1.0), 1.0)
    assert mean_interval([0.0, 1.0], 0.95, bounds=(0.0, 1.0))[0] == Interval(0.5, 0.0, 1.0)
    inside = [not mean_interval(random.normal(0.2, 0.1, 16), 0.95)[0].excludes(0.2) for _ in range(1500)]
    assert np.mean(inside) > 0.937  # percentiles of a bootstrap reach .92


def test_seeds_widen_what_a_single_run_has_and_never_leave_zero_to_one():
    labels, scores = predictions(300, 1.0, 0)
    ranking, right = Ranking.of(labels, scores), (scores >= 0.5) == labels
    alone = auc_interval(ranking, 0.95)
    assert alone == delong_interval(labels, scores, 0.95)
    spread = auc_interval(replace(ranking, aucs=ranking.aucs + np.array([-0.05, 0.0, 0.05])), 0.95)
    assert spread.low < alone.low < alone.estimate < alone.high < spread.high < 1.0
    found, expected = accuracy_interval(right[None], 0.9), wilson_interval(int(right.sum()), 300, 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    always = accuracy_interval(np.ones((3, 20), bool), 0.95)
    assert (always.low, always.high) == pytest.approx((wilson_interval(20, 20, 0.95).low, 1.0))
    wild = accuracy_interval(np.array([np.arange(100) < 55, np.arange(100) < 95]), 0.95)
    assert 0.0 <= wild.low < 0.1
    assert 0.9 < wild.high <= 1.0


def test_two_sets_of_posters_are_compared_by_the_sum_of_their_variances():
    labels, scores = predictions(400, 1.0, 0)
    inside = np.arange(400) % 4 == 0
    found, p_value = auc_gap(labels, scores, inside, 0.95)
    areas = [roc_auc_score(labels[part], scores[part]) for part in (inside, ~inside)]
    assert found.estimate == pytest.approx(areas[0] - areas[1])
    assert found.low < 0 < found.high
    assert p_value > 0.05
    assert auc_gap(labels, np.where(inside, 1 - scores, scores), inside, 0.95)[1] < 1e-6


def test_holm_equals_a_worked_example_and_passes_over_what_was_not_asked():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([0.04, np.nan, 0.03]) == pytest.approx([0.06, np.nan, 0.06], nan_ok=True)
    assert holm([]).tolist() == []
    p_values = np.random.default_rng(0).choice([0.0, 1e-9, 0.004, 0.02, 0.3, 1.0], 60)
    assert holm(p_values).tolist() == multipletests(p_values, method="holm")[1].tolist()


def test_mcnemar_is_the_exact_test_less_half_the_point():
    exact, point = binomtest(3, 15, 0.5).pvalue, 15 * 14 * 13 / 6 / 2**15
    assert mcnemar(3, 12) == mcnemar(12, 3) == pytest.approx(exact - point)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == pytest.approx(1.0, abs=0.25)


def test_the_accuracy_difference_has_its_sign_and_its_width():
    interval = paired_accuracy_difference(60, 20, 1000, 0.95)
    assert interval.estimate == pytest.approx(0.04)
    assert interval.low == pytest.approx(0.04 - 1.96 * np.sqrt(80 / 1000 - 0.04**2) / np.sqrt(1000), abs=1e-3)
    same = paired_accuracy_difference(0, 0, 50, 0.95)
    assert same.low < 0 < same.high
