"""Folds: every poster tested once, duplicates on one side, the class balance kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poster_ml.data.folds import open_fold, parse_fold
from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError


def of(labels: np.ndarray, groups: np.ndarray) -> PreparedDataset:
    index = pd.DataFrame({"label": labels, "duplicate_group": groups, "split": "train"})
    return PreparedDataset(Path("d"), np.zeros((len(index), 2, 2, 3), np.uint8), index, {"fingerprint": "f"})


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    groups = np.where(random.random(500) < 0.2, random.integers(0, 30, 500), np.arange(100, 600))
    return of((random.random(500) < 0.6).astype(int), groups)


def test_every_poster_is_tested_in_exactly_one_fold(dataset):
    views = [open_fold(dataset, f"{fold}/5") for fold in range(1, 6)]
    tested = np.stack([view.index["split"] == "test" for view in views])
    assert (tested.sum(axis=0) == 1).all()
    assert (abs(tested.sum(axis=1) - 100) <= 10).all()


def test_duplicates_are_in_one_fold_and_one_split_and_classes_in_proportion(dataset):
    for fold in range(1, 6):
        index = open_fold(dataset, f"{fold}/5").index
        assert index.groupby("duplicate_group")["split"].nunique().max() == 1
        shares = index.groupby("split")["label"].mean()
        assert (abs(shares - index["label"].mean()) < 0.05).all()
        assert abs((index["split"] == "val").mean() - 0.16) < 0.02


def test_a_fold_is_read_as_people_write_it_and_leaves_the_dataset_as_it_is(dataset):
    view = open_fold(dataset, " 1 / 5 ")
    assert (view.fold, dataset.fold) == ("1/5", "")
    assert view.images is dataset.images
    assert view.fingerprint == dataset.fingerprint
    assert (dataset.index["split"] == "train").all()
    pd.testing.assert_frame_equal(view.index, open_fold(view, "1/5").index)


@pytest.mark.parametrize("text", ["", "5", "0/5", "6/5", "1/1", "1/21", "a/b", "1/5/2", "-1/5"])
def test_what_is_no_fold_is_refused_with_what_is(text):
    with pytest.raises(DatasetError, match="a fold is K/N with K from 1 to N and N from 2 to 20, received"):
        parse_fold(text)


def test_more_folds_than_posters_of_a_class_are_refused():
    few = of(np.array([1] * 20 + [0] * 3), np.arange(23))
    with pytest.raises(DatasetError, match="use fewer folds"):
        open_fold(few, "1/5")
