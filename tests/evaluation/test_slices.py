from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from poster_ml.evaluation.slices import compute_slices, worst_slices, write_slices


def posters(count: int = 400) -> tuple[pandas.DataFrame, np.ndarray]:
    """The model is good everywhere but on Horror, where it is reversed."""
    random = np.random.default_rng(0)
    genres = np.array(["Drama", "Horror", "Drama|Comedy", ""])[np.arange(count) % 4]
    labels = random.integers(0, 2, count)
    sign = np.where(genres == "Horror", -1.0, 2.0)
    probabilities = 1 / (1 + np.exp(-(sign * (labels - 0.5) + 0.5 * random.normal(size=count))))
    table = pandas.DataFrame(
        {
            "year": pandas.array(1980 + np.arange(count) % 25, dtype="Int64"),
            "genres": genres,
            "label": labels,
            "width": 182,
            "height": np.where(np.arange(count) % 2, 268, 320),
            "brightness": np.arange(count) / count,
        }
    )
    return table, probabilities


def test_every_poster_is_in_each_of_its_groups() -> None:
    table, probabilities = posters()
    found = compute_slices(table, probabilities, threshold=0.5, confidence=0.95)
    counts = {(item.kind, item.name): item.count for item in found}
    assert counts[("decade", "1980s")] == 160
    assert counts[("genre", "Drama")] == 200
    assert counts[("genre", "Comedy")] == 100
    assert counts[("genre", "unknown")] == 100
    assert counts[("aspect", "one-sheet (.64 to .71)")] == 200
    assert counts[("aspect", "narrow (below .64)")] == 200
    assert [count for (kind, _), count in counts.items() if kind == "brightness"] == [100] * 4


def test_the_planted_bad_slice_is_named_first() -> None:
    table, probabilities = posters()
    found = compute_slices(table, probabilities, threshold=0.5, confidence=0.95)
    worst = worst_slices(found, overall_auc=0.75)
    assert "Horror" in [item.name for item in found if item.worse]
    assert worst[0].p_holm < 0.001
    assert worst[0].name == "Horror"
    assert worst[0].roc_auc is not None
    assert worst[0].roc_auc.high < 0.5
    assert worst[0].accuracy.high < worst[0].majority_accuracy


def test_a_tiny_slice_or_a_handful_of_one_class_is_not_asked() -> None:
    table, probabilities = posters()
    labels = table["label"].to_numpy()
    for fresh, rotten in ((6, 4), (40, 9)):
        few = np.r_[np.flatnonzero(labels == 0)[:rotten], np.flatnonzero(labels == 1)[:fresh]]
        genres = np.where(np.isin(np.arange(len(table)), few), "Western", "Drama")
        said = np.where(genres == "Western", 1.0 - labels, probabilities)
        found = compute_slices(table[["label"]].assign(genres=genres), said, threshold=0.5, confidence=0.95)
        assert {item.name for item in found} == {"Western", "Drama"}
        assert all(np.isnan(item.p_holm) for item in found), "nor the others, with nothing to stand beside"
        assert worst_slices(found, overall_auc=1.0) == []


def test_slices_of_chance_are_not_called_the_worst() -> None:
    """Forty genres of one and the same model: some lie below the rest, none of them by more than chance."""
    named = looked_bad = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        labels = random.integers(0, 2, 2000)
        table = pandas.DataFrame({"label": labels, "genres": [f"g{n}" for n in random.integers(0, 40, 2000)]})
        values = 1 / (1 + np.exp(-(0.8 * labels + random.normal(size=2000))))
        found = compute_slices(table, values, threshold=0.5, confidence=0.95)
        assert len(found) == 40
        looked_bad += sum(item.roc_auc is not None and item.roc_auc.high < 0.714 for item in found)
        named += len(worst_slices(found, overall_auc=0.714))
    assert looked_bad > 10
    assert named <= 3


def test_brightness_runs_from_dark_to_bright() -> None:
    table, probabilities = posters()
    table = table[["label"]].assign(brightness=np.linspace(0, 1, len(table)))
    found = compute_slices(table, probabilities, threshold=0.5, confidence=0.95)
    names = [item.name.split()[0] for item in found if item.kind == "brightness"]
    assert names == ["darkest", "dark", "bright", "brightest"]


def test_missing_columns_and_values_are_left_out_or_unknown() -> None:
    table, probabilities = posters(40)
    assert compute_slices(table[["label"]], probabilities, threshold=0.5, confidence=0.95) == []
    table.loc[:9, "year"] = pandas.NA
    table["genres"] = None
    table["brightness"] = np.nan
    found = compute_slices(table, probabilities, threshold=0.5, confidence=0.95)
    assert {item.kind for item in found} == {"decade", "aspect"}
    assert next(item.count for item in found if item.name == "unknown") == 10


def test_one_class_in_a_slice_has_an_accuracy_but_no_auc(tmp_path: Path) -> None:
    table = pandas.DataFrame({"label": [1, 1, 0, 1], "year": [1950, 1955, 1990, 1991]})
    found = compute_slices(table, np.array([0.9, 0.2, 0.4, 0.6]), threshold=0.5, confidence=0.95)
    assert found[0].roc_auc is None
    assert found[0].accuracy.estimate == 0.5
    written = pandas.read_csv(write_slices(tmp_path / "slices.csv", found))
    assert written["posters"].tolist() == [2, 2]
    assert written["roc_auc"].isna().tolist() == [True, False]
    assert written["roc_auc"][1] == pytest.approx(1.0)
