"""What validation posters say of one prediction and of two: counted by hand on small sets."""

import numpy as np
import pytest

from poster_ml.evaluation.evidence import FEWEST_PAIRS, DesignPairs, similar_share
from poster_ml.evaluation.stats import wilson_interval


def test_the_similar_share_counts_the_nearest_quarter_of_few_posters():
    logits = np.arange(40.0)
    labels = (np.arange(40) % 3 == 0).astype(int)
    share = similar_share(labels, logits, 20.2, 0.95)
    nearest = range(16, 26)  # the ten whose logits are nearest to 20.2
    assert share.count == 10
    assert share.interval == wilson_interval(sum(number % 3 == 0 for number in nearest), 10, 0.95)


def test_pairs_are_of_one_decade_with_a_shared_genre_and_of_both_classes():
    labels = [1, 0, 0, 0, 0, 1]
    years = [1994, 1999, 2001, 1990, np.nan, np.nan]
    genres = [[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]]  # drama, war, comedy
    pairs = DesignPairs.match(labels, [2.0, 0.5, 0.0, 0.0, 0.0, 1.0], years, genres)
    # only the first and the second: the third is of another decade, the fourth of another genre, and
    # two movies without a year are of no decade
    assert pairs.differences.tolist() == [1.5]


def many_pairs(separation: float, count: int = 300, seed: int = 1) -> DesignPairs:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    logits = random.normal(labels * separation, 1.0)
    return DesignPairs.match(labels, logits, np.full(count, 1995), np.ones((count, 1)))


def test_the_pair_share_counts_the_pairs_that_differ_at_least_so_much():
    pairs = many_pairs(0.7)
    for difference in (0.0, -0.8, 1.5):
        share = pairs.share(difference, 0.95)
        far = pairs.differences[np.abs(pairs.differences) >= abs(difference)]
        assert (share.count, share.interval.estimate) == (len(far), pytest.approx((far > 0).mean()))


def test_the_interval_knows_that_a_poster_stands_in_many_pairs():
    """Of 300 posters make 22,000 pairs: as many independent ones would give an interval of .01."""
    pairs = many_pairs(0.7)
    share = pairs.share(0.0, 0.95)
    assert share.count > 20_000
    width = share.interval.high - share.interval.low
    assert 0.08 < width < 0.20
    independent = wilson_interval(round(share.interval.estimate * share.count), share.count, 0.95)
    assert independent.high - independent.low < width / 5


def test_a_model_that_knows_nothing_is_not_above_chance_and_tells_nothing_apart():
    idle = [many_pairs(0.0, seed=seed) for seed in range(60)]
    assert sum(pairs.share(0.0, 0.95).interval.excludes(0.5) for pairs in idle) <= 8
    assert sum(pairs.told_apart(1.0, 0.95) for pairs in idle) <= 5


def test_few_pairs_say_nothing():
    pairs = many_pairs(0.7)
    beyond = np.sort(np.abs(pairs.differences))[-FEWEST_PAIRS + 1]
    assert pairs.share(float(beyond), 0.95) is None


def test_a_small_difference_is_not_told_apart_though_larger_ones_come_out_right():
    pairs = many_pairs(0.7)
    assert pairs.share(0.01, 0.95).interval.low > 0.5  # nearly all pairs differ by more
    assert not pairs.told_apart(0.01, 0.95)
    assert pairs.told_apart(-2.0, 0.95)
