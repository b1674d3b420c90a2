"""Splits: the study's to the poster, shares and classes kept, groups never torn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from poster_ml.data.splits import SPLITS, assign_splits
from poster_ml.errors import DatasetError
from tests.refusals import refusal


def movies(count: int, groups: np.ndarray | None = None, seed: int = 0, fresh: float = 0.588) -> pd.DataFrame:
    labels = (np.random.default_rng(seed).random(count) < fresh).astype(int)
    groups = np.arange(count) if groups is None else groups
    return pd.DataFrame(
        {"movie_id": [f"m{n}" for n in range(count)], "label": labels, "duplicate_group": groups}
    )


def shares(index: pd.DataFrame) -> np.ndarray:
    return np.array([(index["split"] == name).mean() for name in SPLITS])


def test_the_study_split_is_its_two_calls():
    index = assign_splits(movies(16_000), "study", seed=42)
    rest, test = train_test_split(np.arange(16_000), test_size=0.2, random_state=42)
    train, validation = train_test_split(rest, test_size=0.4, random_state=42)
    for name, rows, count in (("train", train, 7680), ("val", validation, 5120), ("test", test, 3200)):
        assert np.flatnonzero(index["split"] == name).tolist() == sorted(rows)
        assert len(rows) == count


@pytest.mark.parametrize("kind", ["stratified", "grouped"])
@pytest.mark.parametrize("count", [100, 6390])
def test_shares_and_classes_are_kept(kind, count):
    index = assign_splits(movies(count), kind, seed=1)
    assert np.abs(shares(index) - [0.64, 0.16, 0.20]).max() <= 1.5 / count
    fresh = index.groupby("split")["label"].mean()
    assert np.abs(fresh - index["label"].mean()).max() <= 1.0 / (0.16 * count)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_shares_hold_within_a_point(seed):
    random = np.random.default_rng(seed)
    groups = np.where(random.random(6390) < 0.3, random.integers(0, 700, 6390), 10_000 + np.arange(6390))
    index = assign_splits(movies(6390, groups, seed), "grouped", seed=seed)
    assert index.groupby("duplicate_group")["split"].nunique().max() == 1
    several = index[index["duplicate_group"].duplicated(keep=False)]
    assert np.abs(shares(several) - [0.64, 0.16, 0.20]).max() < 0.03, "duplicates are on every side"
    assert np.abs(shares(index) - [0.64, 0.16, 0.20]).max() < 0.01
    assert np.abs(index.groupby("split")["label"].mean() - index["label"].mean()).max() < 0.01


@pytest.mark.parametrize(("count", "together"), [(200, 80), (100, 90)])
def test_a_group_larger_than_a_split_stays_whole_and_leaves_the_rest_to_the_others(count, together):
    groups = np.where(np.arange(count) < together, 0, np.arange(count))
    index = assign_splits(movies(count, groups).assign(label=np.arange(count) % 2), "grouped", seed=0)
    assert index.loc[groups == 0, "split"].nunique() == 1
    assert index.groupby("split")["label"].nunique().min() == 2


def test_the_same_seed_the_same_split_another_seed_another_and_the_order_is_kept():
    index = movies(500).sample(frac=1, random_state=3)
    first, again, other = (assign_splits(index.copy(), "grouped", seed=seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    assert first.drop(columns="split").equals(index)


def test_six_posters_are_enough():
    index = assign_splits(movies(6).assign(label=[0, 1, 0, 1, 0, 1]), "grouped", seed=0)
    assert sorted(index["split"]) == ["test"] * 2 + ["train"] * 2 + ["val"] * 2


def test_a_split_without_a_class_is_named_and_too_few_posters_are_refused():
    index = movies(40).assign(label=[1, 1, *[0] * 38])
    assert refusal(DatasetError, assign_splits, index, "grouped", seed=0) == (
        "the grouped split leaves val without Fresh or without Rotten posters: there are 2 Fresh and 38 "
        "Rotten; add posters of the rarer class"
    )
    for kind in ("grouped", "stratified", "study"):
        said = refusal(DatasetError, assign_splits, movies(5), kind, seed=0)
        assert said == "5 posters are too few to split; at least 6 are needed"
