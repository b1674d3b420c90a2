from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.comparison import ComparisonTable, compare_runs


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


def compare(predictions: dict[str, pandas.DataFrame], **changes: object) -> ComparisonTable:
    arguments: dict = {"threshold": 0.5, "repeats": 300, "confidence": 0.95, "seed": 0} | changes
    return compare_runs(predictions, **arguments)


def test_a_clear_winner_is_real_and_two_equals_are_not() -> None:
    table = compare({"weak": run(0.6, 1), "strong": run(2.0, 2), "weak again": run(0.6, 3)})
    assert table.runs[0].name == "strong"
    by_pair = {frozenset((pair.first, pair.second)): pair for pair in table.pairs}
    assert len(by_pair) == 3
    assert table.real(by_pair[frozenset(("strong", "weak"))]) == ["ROC AUC", "accuracy"]
    assert table.real(by_pair[frozenset(("weak", "weak again"))]) == []
    text = table.text()
    assert "2 of 3 pairs really differ." in text
    assert "p<.001" in text
    assert "not told apart" in text
    assert "real in ROC AUC and accuracy" in text


def test_only_common_posters_count_in_whatever_order() -> None:
    first, second = run(1.0, 1, 100), run(1.0, 2, 100, first=40)
    table = compare({"a": first, "b": second})
    assert (table.posters, table.left_out) == (60, 80)
    shuffled = compare({"a": first.sample(frac=1, random_state=0), "b": second})
    assert (shuffled.runs, shuffled.pairs) == (table.runs, table.pairs)
    assert "runs on the same 60 posters (80 that not all runs scored are left out)" in table.text()


def test_a_run_against_itself_shows_no_difference() -> None:
    pair = compare({"a": run(1.0, 1), "b": run(1.0, 1)}).pairs[0]
    assert (pair.auc_difference.low, pair.auc_difference.high) == (0.0, 0.0)
    assert (pair.auc_p, pair.accuracy_p) == (1.0, 1.0)


def test_each_run_may_have_its_own_threshold() -> None:
    shifted = run(1.0, 1)
    shifted["probability"] = shifted["probability"] / 2
    table = compare({"a": run(1.0, 1), "b": shifted}, threshold={"a": 0.5, "b": 0.25})
    assert table.runs[0].accuracy == table.runs[1].accuracy


def test_runs_of_one_variant_give_mean_and_spread() -> None:
    predictions = {"vgg16 1": run(1.0, 1), "vgg16 2": run(1.0, 2), "basic": run(0.3, 3)}
    variants = {"vgg16 1": "vgg16", "vgg16 2": "vgg16", "basic": "basic"}
    table = compare(predictions, variants=variants)
    spread = next(item for item in table.spreads if item.variant == "vgg16")
    aucs = [item.roc_auc.estimate for item in table.runs if item.variant == "vgg16"]
    assert spread.runs == 2
    assert spread.roc_auc_mean == pytest.approx(np.mean(aucs))
    assert spread.roc_auc_deviation == pytest.approx(np.std(aucs, ddof=1))
    assert "vgg16: 2 runs, ROC AUC" in table.text()
    assert "basic: 1" not in table.text()


def test_tables_and_figures_are_written(tmp_path: Path) -> None:
    table = compare({"a": run(1.0, 1), "b": run(2.0, 2)})
    assert table.frame().shape == (1, 14)
    assert list(table.runs_frame()["run"]) == ["b", "a"]
    assert table.draw(tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")
    assert table.draw_runs(tmp_path / "runs.png").is_file()


def test_one_run_is_too_few() -> None:
    with pytest.raises(
        EvaluationError, match="a comparison needs at least two runs, got 1; name another one"
    ):
        compare({"a": run(1.0, 1)})


def test_runs_on_other_posters_are_refused() -> None:
    with pytest.raises(EvaluationError) as caught:
        compare({"a": run(1.0, 1, 50), "b": run(1.0, 1, 50, first=50)})
    assert str(caught.value) == (
        "the runs a, b have no poster in common; compare runs evaluated on the same split of the same dataset"
    )


def test_other_labels_are_refused() -> None:
    changed = run(1.0, 1)
    changed.loc[3, "label"] = 1 - changed.loc[3, "label"]
    with pytest.raises(EvaluationError) as caught:
        compare({"a": run(1.0, 1), "b": changed})
    assert str(caught.value) == (
        "1 posters have other labels in b than in a, first tt3; compare runs on the same dataset"
    )


def test_broken_predictions_are_refused() -> None:
    twice = pandas.concat([run(1.0, 1), run(1.0, 1).iloc[:1]])
    with pytest.raises(EvaluationError, match="the predictions of b have tt0 twice; evaluate the run again"):
        compare({"a": run(1.0, 1), "b": twice})
    with pytest.raises(
        EvaluationError, match="the predictions of b lack probability; evaluate the run again"
    ):
        compare({"a": run(1.0, 1), "b": run(1.0, 1).drop(columns="probability")})
