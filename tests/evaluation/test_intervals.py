from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from poster_ml.evaluation.intervals import (
    Interval,
    bootstrap_weights,
    delong_difference,
    delong_interval,
    metrics_with_intervals,
    structural_components,
    wilson_interval,
)
from poster_ml.evaluation.metrics import METRIC_NAMES, score


def predictions(count: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (np.arange(count) < 0.6 * count).astype(int)
    return labels, 1 / (1 + np.exp(-(strength * (labels - 0.5) + random.normal(size=count))))


def test_resamples_keep_the_number_of_each_class() -> None:
    labels = np.r_[np.zeros(7, int), np.ones(5, int)]
    weights = np.concatenate(list(bootstrap_weights(labels, 50, 0)))
    assert weights.shape == (50, 12)
    assert (weights[:, :7].sum(axis=1) == 7).all()
    assert (weights[:, 7:].sum(axis=1) == 5).all()
    assert weights.max() > 1


def test_plain_resamples_change_the_class_counts_but_never_lose_a_class() -> None:
    labels = np.array([0, 1, 1, 1])
    weights = np.concatenate(list(bootstrap_weights(labels, 400, 0, stratified=False)))
    fresh = weights @ labels
    assert set(fresh) == {1, 2, 3}
    assert (weights.sum(axis=1) == 4).all()


def test_large_sets_come_in_chunks_that_add_up() -> None:
    labels = np.tile([0, 1], 15_000)
    sizes = [len(weights) for weights in bootstrap_weights(labels, 7, 0)]
    assert sizes == [3, 3, 1]


def test_all_metrics_have_an_interval_around_the_estimate() -> None:
    labels, probabilities = predictions(400, 1.0, 0)
    found = metrics_with_intervals(labels, probabilities, threshold=0.5, repeats=200, confidence=0.95, seed=1)
    estimates = score(labels, probabilities)
    assert set(found) == set(METRIC_NAMES)
    for name, interval in found.items():
        assert interval.estimate == pytest.approx(estimates[name], abs=1e-12)
        assert interval.low <= interval.estimate <= interval.high
        assert interval.high - interval.low < 0.2


def test_the_seed_decides_and_confidence_widens() -> None:
    labels, probabilities = predictions(200, 1.0, 0)

    def accuracy(seed: int, confidence: float) -> Interval:
        return metrics_with_intervals(
            labels, probabilities, threshold=0.5, repeats=300, confidence=confidence, seed=seed
        )["accuracy"]

    assert accuracy(0, 0.9) == accuracy(0, 0.9)
    assert accuracy(0, 0.9) != accuracy(1, 0.9)
    assert accuracy(0, 0.99).low < accuracy(0, 0.8).low


def test_bootstrap_of_accuracy_has_the_width_of_the_binomial() -> None:
    labels, probabilities = predictions(2000, 1.0, 5)
    found = metrics_with_intervals(
        labels, probabilities, threshold=0.5, repeats=1000, confidence=0.95, seed=0
    )["accuracy"]
    expected = 2 * 1.96 * np.sqrt(found.estimate * (1 - found.estimate) / 2000)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


def test_placement_values_equal_the_definition_by_pairs() -> None:
    random = np.random.default_rng(1)
    labels = np.r_[np.ones(9, int), np.zeros(14, int)]
    scores = random.integers(0, 6, 23).astype(float)  # many ties
    auc, below, above = structural_components(labels, scores)
    kernel = (scores[:9, None] > scores[None, 9:]) + 0.5 * (scores[:9, None] == scores[None, 9:])
    np.testing.assert_allclose(below, kernel.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(above, kernel.mean(axis=0), atol=1e-12)
    assert auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_delong_agrees_with_the_bootstrap() -> None:
    labels, scores = predictions(600, 1.2, 2)
    interval = delong_interval(labels, scores, 0.95)
    random = np.random.default_rng(0)
    fresh, rotten = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    draws = []
    for _ in range(500):
        rows = np.r_[random.choice(fresh, len(fresh)), random.choice(rotten, len(rotten))]
        draws.append(roc_auc_score(labels[rows], scores[rows]))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=0.01)
    assert interval.high == pytest.approx(high, abs=0.01)


def test_perfect_separation_is_not_taken_for_certainty() -> None:
    interval = delong_interval([0, 0, 0, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5, 6], 0.95)
    assert (interval.estimate, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(0.025 ** (1 / 3))
    assert delong_interval([1, 1, 0, 0], [0, 1, 2, 3], 0.95).low == 0.0


def test_one_poster_of_a_class_gives_a_wide_interval_without_a_warning() -> None:
    interval = delong_interval([1, 0, 0, 0, 0], [0.4, 0.1, 0.5, 0.2, 0.3], 0.95)
    assert interval.low < 0.4
    assert interval.high > 0.9


def test_the_paired_difference_is_sharper_than_two_intervals() -> None:
    labels, first = predictions(500, 1.0, 3)
    second = np.clip(first + np.random.default_rng(0).normal(0, 0.02, 500), 0, 1)
    difference, p_value = delong_difference(labels, first, second, 0.95)
    alone = delong_interval(labels, first, 0.95)
    assert difference.high - difference.low < 0.3 * (alone.high - alone.low)
    assert 0 < p_value <= 1
    mirrored, same_p_value = delong_difference(labels, second, first, 0.95)
    assert mirrored.estimate == pytest.approx(-difference.estimate)
    assert same_p_value == pytest.approx(p_value)


def test_equal_rankings_differ_by_exactly_nothing() -> None:
    labels, scores = predictions(50, 1.0, 4)
    assert delong_difference(labels, scores, 3 * scores + 1, 0.95) == (Interval(0.0, 0.0, 0.0), 1.0)


def test_wilson_equals_the_published_example() -> None:
    # Newcombe 1998, table I: 15 of 148.
    interval = wilson_interval(15, 148, 0.95)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0624, 0.1605)
    assert wilson_interval(0, 10, 0.95).low == 0.0
    assert wilson_interval(10, 10, 0.95).high == 1.0


def test_arguments_are_checked_and_echoed() -> None:
    with pytest.raises(ValueError, match="repeats=0"):
        next(bootstrap_weights(np.array([0, 1]), 0, 0))
    with pytest.raises(ValueError, match=r"confidence=1\.0"):
        delong_interval([0, 1], [0, 1], 1.0)
    with pytest.raises(ValueError, match="successes=3"):
        wilson_interval(3, 2, 0.95)


def test_text_and_excludes() -> None:
    interval = Interval(0.0521, 0.0301, 0.0747)
    assert interval.text(sign=True) == "+0.052 (+0.030 to +0.075)"
    assert interval.excludes(0.0)
    assert not interval.excludes(0.05)


def test_a_calibrated_model_may_have_an_ece_of_zero_and_a_bad_one_not() -> None:
    random = np.random.default_rng(1)
    probabilities = random.random(1500)
    labels = (random.random(1500) < probabilities).astype(int)

    def ece(values: np.ndarray) -> Interval:
        return metrics_with_intervals(labels, values, threshold=0.5, repeats=300, confidence=0.95, seed=0)[
            "ece"
        ]

    good, bad = ece(probabilities), ece(probabilities**3)
    assert good.estimate > 0
    assert good.low == 0.0
    # E|p - p^3| over a uniform p is 1/4.
    assert bad.low < 0.25 < bad.high
    assert bad.low > 0.2
