"""Folds: every poster tested once, duplicates on one side, the class balance kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poster_ml.data.folds import assign_fold, parse_fold
from poster_ml.errors import DatasetError


@pytest.fixture(scope="module")
def index() -> pd.DataFrame:
    random = np.random.default_rng(0)
    groups = np.where(random.random(500) < 0.2, random.integers(0, 30, 500), np.arange(100, 600))
    return pd.DataFrame({"label": (random.random(500) < 0.6).astype(int), "duplicate_group": groups})


def test_every_poster_is_tested_in_exactly_one_fold(index):
    tested = np.stack([assign_fold(index, fold, 5, seed=1)["split"] == "test" for fold in range(1, 6)])
    assert (tested.sum(axis=0) == 1).all()
    assert (abs(tested.sum(axis=1) - 100) <= 10).all()


def test_duplicates_stay_on_one_side_and_classes_in_proportion(index):
    folded = assign_fold(index, 2, 5, seed=1)
    assert folded.groupby("duplicate_group")["split"].nunique().max() == 1
    shares = folded.groupby("split")["label"].mean()
    assert (abs(shares - index["label"].mean()) < 0.05).all()
    sizes = folded["split"].value_counts(normalize=True)
    assert abs(sizes["val"] - 0.16) < 0.02


def test_a_fold_is_the_same_each_time_and_another_with_another_seed(index):
    first = assign_fold(index, 1, 5, seed=1)
    pd.testing.assert_frame_equal(first, assign_fold(index, 1, 5, seed=1))
    assert (first["split"] != assign_fold(index, 1, 5, seed=2)["split"]).any()
    assert "split" not in index


def test_folds_are_read_as_people_write_them():
    assert parse_fold("2/5") == (2, 5)
    assert parse_fold(" 1 / 10 ") == (1, 10)


@pytest.mark.parametrize("text", ["", "5", "0/5", "6/5", "1/1", "1/21", "a/b", "1/5/2", "-1/5"])
def test_what_is_no_fold_is_refused_with_what_is(text):
    with pytest.raises(DatasetError, match="a fold is K/N with K from 1 to N and N from 2 to 20, received"):
        parse_fold(text)


def test_more_folds_than_posters_of_a_class_are_refused():
    few = pd.DataFrame({"label": [1] * 20 + [0] * 3, "duplicate_group": range(23)})
    with pytest.raises(DatasetError, match="use fewer folds"):
        assign_fold(few, 1, 5, seed=0)
