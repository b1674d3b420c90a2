from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.compare import ComparisonTable, compare
from poster_ml.evaluation.stats import Interval, delong_difference, delong_interval, wilson_interval


def run(strength: float, seed: int, count: int = 600, first: int = 0) -> pandas.DataFrame:
    """Predictions of tt0 .. ; the label depends on the poster alone."""
    posters = np.arange(first, first + count)
    labels = (posters * 7919 % 100 < 58).astype(int)
    noise = np.random.default_rng(seed).normal(size=count)
    return pandas.DataFrame(
        {
            "movie_id": [f"tt{number}" for number in posters],
            "label": labels,
            "probability": 1 / (1 + np.exp(-(strength * (labels - 0.5) + noise))),
        }
    )


def compare_runs(predictions: dict[str, pandas.DataFrame], threshold: dict | float = 0.5) -> ComparisonTable:
    """Every run a setting of its own."""
    limits = {name: [one] for name, one in threshold.items()} if isinstance(threshold, dict) else threshold
    single = {name: [table] for name, table in predictions.items()}
    return compare(single, threshold=limits, confidence=0.95, accuracy=True)


def test_a_clear_winner_is_significant_and_two_equals_are_not() -> None:
    table = compare_runs({"weak": run(0.6, 1), "strong": run(2.0, 2), "weak again": run(0.6, 3)})
    assert table.settings[0].name == "strong"
    by_pair = {frozenset((pair.first, pair.second)): pair for pair in table.pairs}
    assert len(by_pair) == 3
    assert by_pair[frozenset(("strong", "weak"))].significant() == ["ROC AUC", "accuracy"]
    assert by_pair[frozenset(("weak", "weak again"))].significant() == []
    text = table.text()
    assert "pairs, p-values corrected for 6 comparisons (Holm)" in text
    assert "2 of 3 pairs differ significantly at 95%." in text
    assert "p<.001" in text
    assert "not told apart" in text
    assert "significant in ROC AUC and accuracy" in text


def test_a_run_has_one_interval_whichever_way_it_is_compared() -> None:
    """DeLong's on the logit scale and Wilson's, alone, in a comparison of runs and in one of settings."""
    table = run(1.0, 1)
    auc = delong_interval(table["label"], table["probability"], 0.95)
    right = int(((table["probability"] >= 0.5) == table["label"]).sum())
    accuracy = wilson_interval(right, len(table), 0.95)
    for found in (
        compare_runs({"a": table, "b": run(1.0, 2)}).settings,
        compare({"a": [table], "b": [run(1.0, 2), run(1.0, 3)]}, threshold=0.5, confidence=0.95).settings,
    ):
        score = next(one for one in found if one.name == "a")
        for one, other in ((score.roc_auc, auc), (score.accuracy, accuracy)):
            assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)


def test_only_common_posters_count_in_whatever_order() -> None:
    first, second = run(1.0, 1, 100), run(1.0, 2, 100, first=40)
    table = compare_runs({"a": first, "b": second})
    assert (table.posters, table.left_out) == (60, 80)
    shuffled = compare_runs({"a": first.sample(frac=1, random_state=0), "b": second})
    assert str(shuffled) == str(table)  # NaN differs from itself
    assert "settings on the same 60 posters (80 that not all scored are left out)" in table.text()


def test_a_run_against_itself_shows_no_difference() -> None:
    pair = compare_runs({"a": run(1.0, 1), "b": run(1.0, 1)}).pairs[0]
    assert (pair.roc_auc.interval, pair.roc_auc.p) == (Interval(0.0, 0.0, 0.0), 1.0)
    assert pair.accuracy is not None
    assert pair.accuracy.p == 1.0


def test_each_run_may_have_its_own_threshold() -> None:
    shifted = run(1.0, 1)
    shifted["probability"] = shifted["probability"] / 2
    table = compare_runs({"a": run(1.0, 1), "b": shifted}, threshold={"a": 0.5, "b": 0.25})
    assert table.settings[0].accuracy == table.settings[1].accuracy


def test_tables_and_figures_are_written(tmp_path: Path) -> None:
    table = compare_runs({"a": run(1.0, 1), "b": run(2.0, 2)})
    frame = table.frame()
    assert frame["significant"].tolist() == ["ROC AUC and accuracy"]
    assert frame["accuracy_difference"][0] == pytest.approx(
        table.settings[0].accuracy.estimate - table.settings[1].accuracy.estimate
    )
    assert list(table.settings_frame()["name"]) == ["b", "a"]
    assert table.draw(tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")
    assert table.draw_settings(tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")


def test_accuracy_is_tested_between_single_runs_only() -> None:
    with pytest.raises(ValueError, match="accuracy is tested between single runs"):
        compare({"a": [run(1.0, 1), run(1.0, 2)]}, threshold=0.5, confidence=0.95, accuracy=True)


def test_runs_on_other_posters_are_refused() -> None:
    with pytest.raises(EvaluationError) as caught:
        compare_runs({"a": run(1.0, 1, 50), "b": run(1.0, 1, 50, first=50)})
    assert str(caught.value) == (
        "the runs a, b have no poster in common; compare runs evaluated on the same split of the same dataset"
    )


def test_other_labels_are_refused() -> None:
    changed = run(1.0, 1)
    changed.loc[3, "label"] = 1 - changed.loc[3, "label"]
    with pytest.raises(EvaluationError) as caught:
        compare_runs({"a": run(1.0, 1), "b": changed})
    assert str(caught.value) == (
        "1 posters have other labels in b than in a, first tt3; compare runs on the same dataset"
    )


def test_broken_predictions_are_refused() -> None:
    twice = pandas.concat([run(1.0, 1), run(1.0, 1).iloc[:1]])
    with pytest.raises(EvaluationError, match="the predictions of b have tt0 twice; evaluate the run again"):
        compare_runs({"a": run(1.0, 1), "b": twice})
    with pytest.raises(
        EvaluationError, match="the predictions of b lack probability; evaluate the run again"
    ):
        compare_runs({"a": run(1.0, 1), "b": run(1.0, 1).drop(columns="probability")})


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
    pair = compare({"a": [first], "b": [second]}, threshold=0.5, confidence=0.95).pairs[0]
    # `align_predictions` sorts by movie_id; the test does not depend on the order.
    expected, p_value = delong_difference(labels, first["probability"], second["probability"], 0.95)
    if (pair.first, pair.second) == ("b", "a"):
        expected, p_value = delong_difference(labels, second["probability"], first["probability"], 0.95)
    assert pair.roc_auc.interval.estimate == pytest.approx(expected.estimate)
    assert pair.roc_auc.interval.low == pytest.approx(expected.low)
    assert pair.roc_auc.p == pytest.approx(p_value)


def test_the_mean_over_seeds_is_surer_than_one_run_but_counts_their_spread() -> None:
    labels, shared = posters(600, 3)
    calm = runs(labels, shared, [1.0, 1.0, 1.0], 4)
    wild = runs(labels, shared, [0.2, 1.0, 1.8], 5)
    table = compare({"calm": calm, "wild": wild}, threshold=0.5, confidence=0.95)
    by_name = {one.name: one for one in table.settings}
    single = delong_interval(labels, calm[0]["probability"], 0.95)
    width = {name: score.roc_auc.high - score.roc_auc.low for name, score in by_name.items()}
    assert width["calm"] < 1.1 * (single.high - single.low)
    assert width["wild"] > 2 * width["calm"]
    assert by_name["wild"].roc_auc_spread > 5 * by_name["calm"].roc_auc_spread
    assert by_name["calm"].runs == 3
    two = compare({"two": runs(labels, shared, [0.1, 2.0], 6)}, threshold=0.5, confidence=0.95)
    interval = two.settings[0].roc_auc
    assert (interval.low, interval.high) == pytest.approx((0.0, 1.0), abs=0.01), (
        "two seeds far apart say nothing, within 0 and 1"
    )


def test_intervals_hold_the_truth_over_posters_and_seeds() -> None:
    """A difference of 0 on average: seeds move each run's strength, posters are drawn anew."""
    random = np.random.default_rng(0)
    inside = inside_posters_only = 0
    repeats = 300
    for repeat in range(repeats):
        labels, shared = posters(250, 1000 + repeat)
        strengths = random.normal(1.0, 0.25, size=(2, 4))
        first, second = (runs(labels, shared, list(row), 2 * repeat + n) for n, row in enumerate(strengths))
        pair = compare({"a": first, "b": second}, threshold=0.5, confidence=0.95).pairs[0]
        inside += pair.roc_auc.interval.low <= 0 <= pair.roc_auc.interval.high
        expected, _ = delong_difference(labels, first[0]["probability"], second[0]["probability"], 0.95)
        inside_posters_only += expected.low <= 0 <= expected.high
    assert 0.92 <= inside / repeats <= 0.99
    assert inside_posters_only / repeats < 0.9  # what one run each would have claimed


def test_real_differences_are_named_and_drawn(tmp_path: Path) -> None:
    labels, shared = posters(800, 7)
    table = compare(
        {
            "weak": runs(labels, shared, [0.4, 0.5, 0.6], 8),
            "strong": runs(labels, shared, [2.0, 2.1, 2.2], 9),
            "once": runs(labels, shared, [0.5], 10),
        },
        threshold={"weak": [0.5] * 3, "strong": [0.5] * 3, "once": [0.4]},
        confidence=0.95,
    )
    assert table.settings[0].name == "strong"
    verdicts = {frozenset((pair.first, pair.second)): bool(pair.significant()) for pair in table.pairs}
    assert verdicts == {
        frozenset(("strong", "weak")): True,
        frozenset(("strong", "once")): True,
        frozenset(("weak", "once")): False,
    }
    text = table.text()
    assert "3 settings on the same 800 posters" in text
    assert "2 of 3 pairs differ significantly" in text
    assert "p<.001: significant in ROC AUC" in text
    assert "p=0.000" not in text
    assert "one run only, so nothing is known of other seeds: once" in text
    assert "intervals for other posters, and seeds where there are several;" in text
    gain = table.difference("strong", "weak")
    back = table.difference("weak", "strong")
    assert (gain.estimate, gain.low, gain.high) == (-back.estimate, -back.high, -back.low)
    assert gain.low > 0
    assert table.difference("weak", "weak") == Interval(0.0, 0.0, 0.0)
    assert list(table.frame()["significant"]).count("ROC AUC") == 2
    assert table.draw(tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")


def test_one_run_each_knows_nothing_of_seeds_and_says_so() -> None:
    labels, shared = posters(200, 7)
    single = {name: runs(labels, shared, [0.5], seed) for seed, name in enumerate(("one", "two"))}
    table = compare(single, threshold=0.5, confidence=0.95)
    assert "one run only, so nothing is known of other seeds: " in table.text()
    assert "intervals for other posters only;" in table.text()


def test_what_cannot_be_compared_is_refused() -> None:
    labels, shared = posters(50, 0)
    one = runs(labels, shared, [1.0], 1)
    with pytest.raises(EvaluationError, match="no runs to bring together"):
        compare({}, threshold=0.5, confidence=0.95)
    with pytest.raises(EvaluationError, match="no run of b"):
        compare({"a": one, "b": []}, threshold=0.5, confidence=0.95)


def test_equal_variants_do_not_differ() -> None:
    labels, shared = posters(60, 1)
    one = runs(labels, shared, [1.0], 1)
    pair = compare({"a": one, "b": one}, threshold=0.5, confidence=0.95).pairs[0]
    assert (pair.roc_auc.interval.low, pair.roc_auc.interval.high, pair.roc_auc.p) == (0.0, 0.0, 1.0)


def test_what_is_left_out_of_the_comparison_is_scored_all_the_same() -> None:
    labels, shared = posters(300, 2)
    predictions = {name: runs(labels, shared, [1.0], number) for number, name in enumerate("abc")}
    table = compare(predictions, threshold=0.5, confidence=0.95, not_compared=["b"])
    assert {one.name for one in table.settings} == {"a", "b", "c"}
    assert [{pair.first, pair.second} for pair in table.pairs] == [{"a", "c"}]
    assert table.text().startswith("3 settings on the same 300 posters")
    alone = compare({"a": predictions["a"]}, threshold=0.5, confidence=0.95)
    assert alone.pairs == []
    assert "pairs" not in alone.text()
