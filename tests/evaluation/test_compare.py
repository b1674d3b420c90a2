import re

import numpy as np
import pandas
import pytest

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.compare import ComparisonTable, compare
from poster_ml.evaluation.stats import (
    Interval,
    Ranking,
    auc_difference,
    delong_difference,
    delong_interval,
    wilson_interval,
)
from tests.refusals import refusal


def posters(count: int, seed: int, first: int = 0) -> pandas.DataFrame:
    """tt0 .. with labels, and what each shows to every network alike (`shared`)."""
    numbers = np.arange(first, first + count)
    return pandas.DataFrame(
        {
            "movie_id": [f"tt{number}" for number in numbers],
            "label": (numbers * 7919 % 100 < 58).astype(int),
            "shared": np.random.default_rng(seed).normal(size=count),
        }
    )


def runs(table: pandas.DataFrame, strengths: list[float], seed: int) -> list[pandas.DataFrame]:
    """One run per strength: signal, what is hard for all, and noise of its own."""
    frames = []
    for number, strength in enumerate(strengths):
        own = np.random.default_rng([seed, number]).normal(size=len(table))
        logits = strength * (table["label"] - 0.5) + table["shared"] + 0.5 * own
        frames.append(table[["movie_id", "label"]].assign(probability=1 / (1 + np.exp(-logits))))
    return frames


def run(strength: float, seed: int, count: int = 600, first: int = 0) -> list[pandas.DataFrame]:
    return runs(posters(count, seed, first), [strength], seed)


def compare_seeds(predictions: dict[str, list[pandas.DataFrame]], **options: object) -> ComparisonTable:
    return compare(predictions, **{"threshold": 0.5, "confidence": 0.95} | options)


def compare_runs(predictions: dict[str, list[pandas.DataFrame]], **options: object) -> ComparisonTable:
    return compare_seeds(predictions, accuracy=True, **options)


def test_a_clear_winner_is_significant_and_two_equals_are_not(tmp_path):
    table = compare_runs({"weak": run(0.6, 1), "strong": run(2.0, 2), "weak again": run(0.6, 3)})
    assert table.settings[0]["name"] == "strong"
    by_pair = {frozenset((row["first"], row["second"])): row for row in table.pairs}
    assert len(by_pair) == 3
    clear = by_pair[frozenset(("strong", "weak"))]
    assert clear["significant"] == "ROC AUC and accuracy"
    strong, weak = ({one["name"]: one for one in table.settings}[name] for name in ("strong", "weak"))
    assert clear["accuracy_difference"] == pytest.approx(strong["accuracy"] - weak["accuracy"])
    assert by_pair[frozenset(("weak", "weak again"))]["significant"] == ""
    text = table.text()
    assert "pairs, p-values corrected for 6 comparisons (Holm)" in text
    assert "2 of 3 pairs differ significantly at 95%." in text
    assert re.search(r"strong - weak\b.* p<.001 .* p<.001 +ROC AUC and accuracy", text)
    assert text.count("nothing") == 1
    assert table.draw(tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")
    assert table.draw_settings(tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_has_one_interval_whichever_way_it_is_compared():
    """DeLong's on the logit scale and Wilson's, alone, in a comparison of runs and in one of settings."""
    (table,) = run(1.0, 1)
    auc = delong_interval(table["label"], table["probability"], 0.95)
    right = int(((table["probability"] >= 0.5) == table["label"]).sum())
    accuracy = wilson_interval(right, len(table), 0.95)
    for found in (
        compare_runs({"a": [table], "b": run(1.0, 2)}).settings,
        compare_seeds({"a": [table], "b": [*run(1.0, 2), *run(1.0, 3)]}).settings,
    ):
        score = next(one for one in found if one["name"] == "a")
        for name, other in (("roc_auc", auc), ("accuracy", accuracy)):
            one = Interval.of(score, name)
            assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)


def test_only_common_posters_count_in_whatever_order():
    (first,), second = run(1.0, 1, 100), run(1.0, 2, 100, first=40)
    table = compare_runs({"a": [first], "b": second})
    assert (table.posters, table.left_out) == (60, 80)
    shuffled = compare_runs({"a": [first.sample(frac=1, random_state=0)], "b": second})
    assert str(shuffled) == str(table)  # NaN differs from itself
    assert "settings on the same 60 posters (80 that not all scored are left out)" in table.text()


def test_each_run_may_have_its_own_threshold():
    shifted = run(1.0, 1)[0].assign(probability=lambda table: table["probability"] / 2)
    table = compare_runs({"a": run(1.0, 1), "b": [shifted]}, threshold={"a": [0.5], "b": [0.25]})
    assert table.settings[0]["accuracy"] == table.settings[1]["accuracy"]


def test_what_cannot_be_compared_is_refused():
    first, (second,) = run(1.0, 1, 50), run(1.0, 2, 50)
    changed = second.assign(label=np.where(second["movie_id"] == "tt3", 1 - second["label"], second["label"]))
    for predictions, message in (
        ({"a": first, "b": run(1.0, 1, 50, first=50)},
         "the runs a, b have no poster in common; compare runs evaluated on the same split of the same dataset"),
        ({"a": first, "b": [changed]},
         "1 posters have other labels in b than in a, first tt3; compare runs on the same dataset"),
        ({"a": first, "b": [pandas.concat([second, second[:1]])]},
         "the predictions of b have tt0 twice; evaluate the run again"),
        ({"a": first, "b": [second.drop(columns="probability")]},
         "the predictions of b lack probability; evaluate the run again"),
    ):  # fmt: skip
        assert refusal(EvaluationError, compare_runs, predictions) == message


def test_with_one_run_each_it_is_delongs_test_and_nothing_is_known_of_seeds():
    table = posters(400, 0)
    frames = {"a": runs(table, [1.2], 1), "b": runs(table, [0.9], 2)}
    found = compare_seeds(frames)
    (pair,) = found.pairs
    first, second = (frames[pair[side]][0]["probability"] for side in ("first", "second"))
    expected, p_value = delong_difference(table["label"], first, second, 0.95)
    assert Interval.of(pair, "auc_difference").low == pytest.approx(expected.low)
    assert pair["auc_p"] == pytest.approx(p_value)
    assert "intervals for other posters only;" in found.text()


def test_the_mean_over_seeds_is_surer_than_one_run_but_counts_their_spread():
    table = posters(600, 3)
    calm, wild = runs(table, [1.0, 1.0, 1.0], 4), runs(table, [0.2, 1.0, 1.8], 5)
    by_name = {one["name"]: one for one in compare_seeds({"calm": calm, "wild": wild}).settings}
    single = delong_interval(table["label"], calm[0]["probability"], 0.95)
    width = {name: score["roc_auc_ci_high"] - score["roc_auc_ci_low"] for name, score in by_name.items()}
    assert width["calm"] < 1.1 * (single.high - single.low)
    assert width["wild"] > 2 * width["calm"]
    assert by_name["wild"]["roc_auc_spread"] > 5 * by_name["calm"]["roc_auc_spread"]
    assert by_name["calm"]["runs"] == 3
    interval = Interval.of(compare_seeds({"two": runs(table, [0.1, 2.0], 6)}).settings[0], "roc_auc")
    assert (interval.low, interval.high) == pytest.approx((0.0, 1.0), abs=0.01)  # two seeds far apart


def test_intervals_hold_the_truth_over_posters_and_seeds():
    """A difference of 0 on average: seeds move each run's strength, posters are drawn anew."""
    random = np.random.default_rng(0)
    inside = inside_posters_only = 0
    labels = posters(250, 0)["label"].to_numpy()
    for _ in range(300):
        shared = random.normal(size=250)
        strengths = random.normal(1.0, 0.25, size=(2, 4, 1))
        scores = strengths * (labels - 0.5) + shared + 0.5 * random.normal(size=(2, 4, 250))
        first, second = (Ranking.of(labels, *one) for one in scores)
        inside += not auc_difference(first, second, 0.95)[0].excludes(0.0)
        single, _ = delong_difference(labels, scores[0, 0], scores[1, 0], 0.95)
        inside_posters_only += not single.excludes(0.0)
    assert 0.92 <= inside / 300 <= 0.99
    assert inside_posters_only / 300 < 0.9  # what one run each would have claimed


def test_a_difference_between_settings_over_seeds_has_its_sign():
    data = posters(800, 7)
    settings = {"weak": runs(data, [0.4, 0.5, 0.6], 8), "strong": runs(data, [2.0], 9)}
    table = compare_seeds(settings)
    text = table.text()
    assert re.search(r"strong - weak\b.* p<.001 +ROC AUC", text)
    assert "intervals for other posters, and seeds where there are several;" in text
    gain, back = table.difference("strong", "weak"), table.difference("weak", "strong")
    assert (gain.estimate, gain.low, gain.high) == (-back.estimate, -back.high, -back.low)
    assert gain.low > 0
    assert table.difference("weak", "weak") == Interval(0.0, 0.0, 0.0)
