"""Splits: which posters train, which select, which are only reported.

study       two calls of train_test_split as in the study: 48 / 32 / 20 %, not stratified, blind to duplicates
stratified  64 / 16 / 20 %, the same share of Fresh on every side
grouped     as stratified, and near-identical posters never sit on two sides
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from poster_ml.errors import DatasetError
from poster_ml.seeding import generator

SPLITS = ("train", "val", "test")
KINDS = ("grouped", "stratified", "study")
FRACTIONS = (0.64, 0.16, 0.20)
FEWEST = 6  # a Fresh and a Rotten poster for each split

Counts = npt.NDArray[np.int64]


def assign_splits(index: pd.DataFrame, kind: str, *, seed: int) -> pd.DataFrame:
    """Gives every poster a split; `grouped` keeps near-identical posters on one side.

    Args:
        index: one row per poster: label (0/1) and, for grouped, duplicate_group.
        kind: "grouped", "stratified" or "study".
        seed: int; 0 is a seed like any other; the study used 42.

    Returns: a new table, same rows and order, with `split`; the input is untouched.

    Raises: DatasetError where there are too few posters, or a split would lack a class.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind=}")
    if len(index) < FEWEST:
        raise DatasetError(f"{len(index)} posters are too few to split; at least {FEWEST} are needed")
    labels = index["label"].to_numpy(np.int64)
    if kind == "study":
        positions = _study(len(index), seed)
    else:
        groups = np.arange(len(index))
        if kind == "grouped":
            groups = np.unique(index["duplicate_group"].to_numpy(), return_inverse=True)[1]
        positions = _grouped(labels, groups, seed)
    _check_classes(labels, positions, kind)
    return index.assign(split=np.asarray(SPLITS, dtype=object)[positions])


def _study(count: int, seed: int) -> Counts:
    """Repeats the study's two calls on row positions; returns (N,) 0 train, 1 val, 2 test."""
    rest, test = train_test_split(np.arange(count), test_size=0.2, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.4, random_state=seed)
    positions = np.zeros(count, np.int64)
    for number, rows in enumerate((train, validation, test)):
        positions[rows] = number
    return positions


def _grouped(labels: Counts, groups: Counts, seed: int) -> Counts:
    """Deals out groups of several posters first, largest first, then fills up exactly with single posters.

    Args:
        labels: (N,) 0 or 1.
        groups: (N,) numbers from 0 without a gap.

    Returns: (N,) 0 train, 1 val, 2 test.
    """
    random = generator(seed, "split")
    counts = np.zeros((groups.max() + 1, 2), np.int64)  # (groups, classes)
    np.add.at(counts, (groups, labels), 1)
    sizes = counts.sum(axis=1)
    target = _targets(counts.sum(axis=0))  # (splits, classes)
    open_places = target.copy()
    side = np.full(len(counts), -1, np.int64)

    several = np.flatnonzero(sizes > 1)
    several = random.permutation(several)
    several = several[np.argsort(-sizes[several], kind="stable")]
    for group in several:
        # Where the group's classes are missing most, as a share of what that split wants.
        need = (open_places / np.maximum(target, 1)) @ counts[group]
        side[group] = int(np.argmax(need))
        open_places[side[group]] -= counts[group]

    for label in (0, 1):
        single = random.permutation(np.flatnonzero((sizes == 1) & (counts[:, label] == 1)))
        places = np.maximum(open_places[:, label], 0)
        # A large group may have overfilled one split: the others then share what is left.
        while places.sum() > len(single):
            places[int(np.argmax(places))] -= 1
        side[single] = np.repeat(np.arange(3), places)[: len(single)]
    return side[groups]


def _targets(totals: Counts) -> Counts:
    """Whole numbers of posters per split and class, (3, 2): by largest remainder, at least 1 if it can be."""
    target = np.zeros((3, 2), np.int64)
    for label, total in enumerate(totals):
        exact = np.array(FRACTIONS) * total
        target[:, label] = np.floor(exact)
        missing = total - target[:, label].sum()
        target[np.argsort(target[:, label] - exact, kind="stable")[:missing], label] += 1
        while total >= 3 and target[:, label].min() == 0:
            target[np.argmax(target[:, label]), label] -= 1
            target[np.argmin(target[:, label]), label] += 1
    return target


def _check_classes(labels: Counts, positions: Counts, kind: str) -> None:
    fresh = int(labels.sum())
    for number, name in enumerate(SPLITS):
        if len(np.unique(labels[positions == number])) < 2:
            raise DatasetError(
                f"the {kind} split leaves {name} without Fresh or without Rotten posters: there are {fresh} "
                f"Fresh and {len(labels) - fresh} Rotten; add posters of the rarer class"
            )
