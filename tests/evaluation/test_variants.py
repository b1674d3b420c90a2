from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.stats import Interval, delong_difference, delong_interval
from poster_ml.evaluation.variants import compare_variants


def posters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and what posters show to every network alike."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) * 7919 % 100 < 58).astype(int)
    return labels, random.normal(size=count)


def runs(labels: np.ndarray, shared: np.ndarray, strengths: list[float], seed: int) -> list[pandas.DataFrame]:
    """One run per strength: signal, what is hard for all, and noise of its own."""
    frames = []
    for number, strength in enumerate(strengths):
        own = np.random.default_rng([seed, number]).normal(size=len(labels))
        logits = strength * (labels - 0.5) + shared + 0.5 * own
        frames.append(
            pandas.DataFrame(
                {
                    "movie_id": [f"tt{number}" for number in range(len(labels))],
                    "label": labels,
                    "probability": 1 / (1 + np.exp(-logits)),
                }
            )
        )
    return frames


def test_with_one_run_each_it_is_delongs_test() -> None:
    labels, shared = posters(400, 0)
    first, second = runs(labels, shared, [1.2], 1)[0], runs(labels, shared, [0.9], 2)[0]
    pair = compare_variants({"a": [first], "b": [second]}, threshold=0.5, confidence=0.95).pairs[0]
    # `align_predictions` sorts by movie_id; the test does not depend on the order.
    expected, p_value = delong_difference(labels, first["probability"], second["probability"], 0.95)
    if (pair.first, pair.second) == ("b", "a"):
        expected, p_value = delong_difference(labels, second["probability"], first["probability"], 0.95)
    assert pair.auc_difference.estimate == pytest.approx(expected.estimate)
    assert pair.auc_difference.low == pytest.approx(expected.low)
    assert pair.p == pytest.approx(p_value)


def test_the_mean_over_seeds_is_surer_than_one_run_but_counts_their_spread() -> None:
    labels, shared = posters(600, 3)
    calm = runs(labels, shared, [1.0, 1.0, 1.0], 4)
    wild = runs(labels, shared, [0.2, 1.0, 1.8], 5)
    table = compare_variants({"calm": calm, "wild": wild}, threshold=0.5, confidence=0.95)
    by_name = {variant.name: variant for variant in table.variants}
    single = delong_interval(labels, calm[0]["probability"], 0.95)
    width = {name: score.roc_auc.high - score.roc_auc.low for name, score in by_name.items()}
    assert width["calm"] < 1.1 * (single.high - single.low)
    assert width["wild"] > 2 * width["calm"]
    assert by_name["wild"].roc_auc_spread > 5 * by_name["calm"].roc_auc_spread
    assert by_name["calm"].runs == 3
    two = compare_variants({"two": runs(labels, shared, [0.1, 2.0], 6)}, threshold=0.5, confidence=0.95)
    interval = two.variants[0].roc_auc
    assert (interval.low, interval.high) == (0.0, 1.0), "two seeds far apart say nothing, within 0 and 1"


def test_intervals_hold_the_truth_over_posters_and_seeds() -> None:
    """A difference of 0 on average: seeds move each run's strength, posters are drawn anew."""
    random = np.random.default_rng(0)
    inside = inside_posters_only = 0
    repeats = 300
    for repeat in range(repeats):
        labels, shared = posters(250, 1000 + repeat)
        strengths = random.normal(1.0, 0.25, size=(2, 4))
        first, second = (runs(labels, shared, list(row), 2 * repeat + n) for n, row in enumerate(strengths))
        pair = compare_variants({"a": first, "b": second}, threshold=0.5, confidence=0.95).pairs[0]
        inside += pair.auc_difference.low <= 0 <= pair.auc_difference.high
        expected, _ = delong_difference(labels, first[0]["probability"], second[0]["probability"], 0.95)
        inside_posters_only += expected.low <= 0 <= expected.high
    assert 0.92 <= inside / repeats <= 0.99
    assert inside_posters_only / repeats < 0.9  # what one run each would have claimed


def test_real_differences_are_named_and_drawn(tmp_path: Path) -> None:
    labels, shared = posters(800, 7)
    table = compare_variants(
        {
            "weak": runs(labels, shared, [0.4, 0.5, 0.6], 8),
            "strong": runs(labels, shared, [2.0, 2.1, 2.2], 9),
            "once": runs(labels, shared, [0.5], 10),
        },
        threshold={"weak": [0.5] * 3, "strong": [0.5] * 3, "once": [0.4]},
        confidence=0.95,
    )
    assert table.variants[0].name == "strong"
    verdicts = {frozenset((pair.first, pair.second)): table.real(pair) for pair in table.pairs}
    assert verdicts == {
        frozenset(("strong", "weak")): True,
        frozenset(("strong", "once")): True,
        frozenset(("weak", "once")): False,
    }
    text = table.text()
    assert "3 variants on the same 800 posters" in text
    assert "2 of 3 pairs really differ" in text
    assert "p<.001: real" in text
    assert "p=0.000" not in text
    assert "one run only, so nothing is known of other seeds: once" in text
    assert table._sources() == "other posters, and seeds where there are several"
    gain = table.difference("strong", "weak")
    back = table.difference("weak", "strong")
    assert (gain.estimate, gain.low, gain.high) == (-back.estimate, -back.high, -back.low)
    assert gain.low > 0
    assert table.difference("weak", "weak") == Interval(0.0, 0.0, 0.0)
    assert list(table.frame()["real"]).count(True) == 2
    assert table.draw(tmp_path / "pairs.png").stat().st_size > 5000


def test_one_run_each_knows_nothing_of_seeds_and_says_so() -> None:
    labels, shared = posters(200, 7)
    single = {name: runs(labels, shared, [0.5], seed) for seed, name in enumerate(("one", "two"))}
    table = compare_variants(single, threshold=0.5, confidence=0.95)
    assert "one run only, so nothing is known of other seeds: " in table.text()
    assert table._sources() == "other posters only"


def test_what_cannot_be_compared_is_refused() -> None:
    labels, shared = posters(50, 0)
    one = runs(labels, shared, [1.0], 1)
    with pytest.raises(EvaluationError, match="no runs to bring together"):
        compare_variants({}, threshold=0.5, confidence=0.95)
    with pytest.raises(EvaluationError, match="no run of b"):
        compare_variants({"a": one, "b": []}, threshold=0.5, confidence=0.95)


def test_equal_variants_do_not_differ() -> None:
    labels, shared = posters(60, 1)
    one = runs(labels, shared, [1.0], 1)
    pair = compare_variants({"a": one, "b": one}, threshold=0.5, confidence=0.95).pairs[0]
    assert (pair.auc_difference.low, pair.auc_difference.high, pair.p) == (0.0, 0.0, 1.0)


def test_what_is_left_out_of_the_comparison_is_scored_all_the_same() -> None:
    labels, shared = posters(300, 2)
    predictions = {name: runs(labels, shared, [1.0], number) for number, name in enumerate("abc")}
    table = compare_variants(predictions, threshold=0.5, confidence=0.95, not_compared=["b"])
    assert {variant.name for variant in table.variants} == {"a", "b", "c"}
    assert [{pair.first, pair.second} for pair in table.pairs] == [{"a", "c"}]
    assert table.text().startswith("2 variants on the same 300 posters")
    alone = compare_variants({"a": predictions["a"]}, threshold=0.5, confidence=0.95)
    assert (alone.pairs, alone.text()) == ([], "nothing to compare: fewer than two variants")
