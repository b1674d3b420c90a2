"""Splits: which posters train, which select, which are only reported.

study       two calls of train_test_split as in the study: 48 / 32 / 20 %, not stratified, blind to duplicates
stratified  64 / 16 / 20 %, the same share of Fresh on every side
grouped     as stratified, and near-identical posters never sit on two sides
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from poster_ml.errors import DatasetError, nearest
from poster_ml.seeding import generator

SPLITS = ("train", "val", "test")
KINDS = ("grouped", "stratified", "study")
FRACTIONS = (0.64, 0.16, 0.20)

Counts = npt.NDArray[np.int64]


def assign_splits(
    index: pd.DataFrame, kind: str, *, seed: int, fractions: tuple[float, float, float] | None = None
) -> pd.DataFrame:
    """Gives every poster a split; `grouped` keeps near-identical posters on one side.

    Args:
        index: one row per poster: movie_id (unique), label (0/1) and, for grouped, duplicate_group.
        kind: "grouped", "stratified" or "study".
        seed: int; 0 is a seed like any other; the study used 42.
        fractions: shares of (train, val, test), each > 0, sum 1 within 1e-9; None: .64, .16, .20. The study's
            are fixed by its two calls.

    Returns: a new table, same rows and order, with `split`; the input is untouched.

    Raises: DatasetError naming at most ten offending movie_ids, or the split that would lack a class.
    """
    check_choice("split", kind, KINDS)
    if kind == "study" and fractions is not None:
        raise ValueError(f"the study's fractions are fixed, got {fractions=}")
    _check_index(index)
    labels = index["label"].to_numpy(np.int64)
    if kind == "study":
        positions = _study(len(index), seed)
    else:
        shares = _check_fractions(fractions or FRACTIONS)
        groups = np.arange(len(index))
        if kind == "grouped":
            groups = np.unique(index["duplicate_group"].to_numpy(), return_inverse=True)[1]
        positions = _grouped(labels, groups, shares, seed)
    _check_classes(labels, positions, kind)
    return index.assign(split=np.asarray(SPLITS, dtype=object)[positions])


def check_choice(what: str, value: str, allowed: Sequence[str]) -> None:
    """Raises a DatasetError that lists what is allowed, where `value` is none of it."""
    if value not in allowed:
        raise DatasetError(f"{what} {value!r} is not one of {', '.join(allowed)}{nearest(value, allowed)}")


def _study(count: int, seed: int) -> Counts:
    """Repeats the study's two calls on row positions; returns (N,) 0 train, 1 val, 2 test."""
    from sklearn.model_selection import train_test_split

    if count < 5:
        raise DatasetError(f"{count} posters are too few to split; at least 5 are needed")
    rest, test = train_test_split(np.arange(count), test_size=0.2, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.4, random_state=seed)
    positions = np.zeros(count, np.int64)
    for number, rows in enumerate((train, validation, test)):
        positions[rows] = number
    return positions


def _grouped(labels: Counts, groups: Counts, shares: npt.NDArray[np.float64], seed: int) -> Counts:
    """Deals out groups of several posters first, largest first, then fills up exactly with single posters.

    Args:
        labels: (N,) 0 or 1.
        groups: (N,) numbers from 0 without a gap.
        shares: (3,) of train, val, test.

    Returns: (N,) 0 train, 1 val, 2 test.
    """
    random = generator(seed, "split")
    counts = np.zeros((groups.max() + 1, 2), np.int64)  # (groups, classes)
    np.add.at(counts, (groups, labels), 1)
    sizes = counts.sum(axis=1)
    target = _targets(counts.sum(axis=0), shares)  # (splits, classes)
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


def _targets(totals: Counts, shares: npt.NDArray[np.float64]) -> Counts:
    """Whole numbers of posters per split and class, (3, 2): by largest remainder, at least 1 if it can be."""
    target = np.zeros((3, 2), np.int64)
    for label, total in enumerate(totals):
        exact = shares * total
        target[:, label] = np.floor(exact)
        missing = total - target[:, label].sum()
        target[np.argsort(target[:, label] - exact, kind="stable")[:missing], label] += 1
        while total >= 3 and target[:, label].min() == 0:
            target[np.argmax(target[:, label]), label] -= 1
            target[np.argmin(target[:, label]), label] += 1
    return target


def _check_fractions(fractions: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    shares = np.asarray(fractions, np.float64)
    if shares.shape != (3,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-9:
        raise ValueError(f"fractions must be three shares > 0 with sum 1, got {fractions=}")
    return shares


def _check_index(index: pd.DataFrame) -> None:
    repeated = index["movie_id"][index["movie_id"].duplicated()].unique()
    if len(repeated):
        raise DatasetError(f"movie_id must be unique; repeated: {_some(repeated)}")
    odd = index["movie_id"][~index["label"].isin([0, 1])]
    if len(odd):
        raise DatasetError(f"label must be 1 (Fresh) or 0 (Rotten); it is not for: {_some(odd)}")
    if index.empty:
        raise DatasetError("there are no posters to split")


def _some(names: object) -> str:
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    return ", ".join(listed[:10]) + more


def _check_classes(labels: Counts, positions: Counts, kind: str) -> None:
    for number, name in enumerate(SPLITS):
        inside = labels[positions == number]
        for label, word in ((1, "Fresh"), (0, "Rotten")):
            if not (inside == label).any():
                raise DatasetError(
                    f"the {kind} split leaves {name} without a {word} poster: there are "
                    f"{int((labels == 1).sum())} Fresh and {int((labels == 0).sum())} Rotten; "
                    "add posters of that class"
                )
