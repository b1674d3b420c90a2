"""Leakage: pairs on two sides are found and counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poster_ml.data.leakage import leakage_summary, leaking_pairs


def test_pairs_on_two_sides_are_listed() -> None:
    index = pd.DataFrame({
        "movie_id": list("abcdef"), "label": [1, 1, 0, 1, 0, 0], "duplicate_group": [0, 1, 0, 0, 2, 2],
        "split": ["train", "test", "test", "train", "val", "val"],
    })  # fmt: skip
    pairs = leaking_pairs(index)
    assert pairs.to_dict("records") == [
        {"duplicate_group": 0, "movie_id_a": "a", "split_a": "train", "label_a": 1,
         "movie_id_b": "c", "split_b": "test", "label_b": 0},
        {"duplicate_group": 0, "movie_id_a": "c", "split_a": "test", "label_a": 0,
         "movie_id_b": "d", "split_b": "train", "label_b": 1},
    ]  # fmt: skip
    assert leakage_summary(index) == {
        "duplicate_groups": 2, "duplicate_posters": 5, "groups_with_both_labels": 1, "leaking_pairs": 2,
        "leaking_groups": 1,
    }  # fmt: skip


def planted(count: int = 1000, pairs: int = 200) -> pd.DataFrame:
    groups = np.arange(count)
    groups[pairs : 2 * pairs] = np.arange(pairs)
    labels = np.arange(count) % 5 < 3
    return pd.DataFrame(
        {"movie_id": [str(n) for n in range(count)], "label": labels.astype(int), "duplicate_group": groups}
    )


def test_the_study_split_tears_about_as_many_pairs_as_chance_says_and_grouped_none() -> None:
    index = planted()
    # Two posters fall on two sides with probability 1 - (.48^2 + .32^2 + .20^2) = .627.
    assert 105 <= leakage_summary(index, "study")["leaking_pairs"] <= 145
    assert leakage_summary(index, "stratified")["leaking_pairs"] > 80
    assert leakage_summary(index, "grouped")["leaking_pairs"] == 0
    assert leaking_pairs(index, "grouped").columns.tolist() == leaking_pairs(index, "study").columns.tolist()


def test_the_seed_reaches_the_split() -> None:
    first, other = (leaking_pairs(planted(), "study", seed=seed)["movie_id_a"].tolist() for seed in (42, 43))
    assert first != other


def test_an_unknown_column_is_a_programming_error() -> None:
    with pytest.raises(
        ValueError, match="split must be a column of index or one of grouped, stratified, study"
    ):
        leaking_pairs(planted(), "fold")
