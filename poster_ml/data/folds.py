"""Cross-validation: every poster is a test poster once, scored by a network that has not seen it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError
from poster_ml.seeding import derive_seed

MOST_FOLDS = 20
VALIDATION_PARTS = 5  # a fifth of what is not tested selects the epoch: 16 % of all with five folds
SEED = 0  # of the folds: one and the same for all variants and seeds, which are compared on them


def parse_fold(text: str) -> tuple[int, int]:
    """Reads "2/5", the second of five folds.

    Raises: DatasetError in one line unless it is K/N with 1 <= K <= N and 2 <= N <= 20.
    """
    match = re.fullmatch(r"\s*(\d{1,3})\s*/\s*(\d{1,3})\s*", text)
    fold, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (2 <= count <= MOST_FOLDS and 1 <= fold <= count):
        raise DatasetError(
            f"a fold is K/N with K from 1 to N and N from 2 to {MOST_FOLDS}, received {text!r}"
        )
    return fold, count


def open_fold(dataset: PreparedDataset, text: str) -> PreparedDataset:
    """Gives every poster of a prepared dataset a split for one fold, stratified by label.

    Posters of one duplicate group stay in one fold, and within it in one split. The folds depend on the
    dataset alone; those of one N are disjoint and cover it.

    Args:
        dataset: with any splits: they are replaced.
        text: "K/N" as for `parse_fold`; fold K is `test`, a fifth of the others `val`, the rest `train`.

    Returns: a view of the same images and posters.

    Raises: DatasetError where a split would lack a class, or `text` is not a fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fold, count = parse_fold(text)
    labels = dataset.index["label"].to_numpy(np.int64)
    groups = dataset.index["duplicate_group"].to_numpy()
    if np.bincount(labels, minlength=2).min() < count:
        raise DatasetError(
            f"{count} folds need {count} Fresh and {count} Rotten posters or more: use fewer folds"
        )
    outer = StratifiedGroupKFold(count, shuffle=True, random_state=derive_seed(SEED, "folds", count))
    rest, test = list(outer.split(labels, labels, groups))[fold - 1]
    inner = StratifiedGroupKFold(
        VALIDATION_PARTS, shuffle=True, random_state=derive_seed(SEED, "fold", count, fold)
    )
    _, validation = next(iter(inner.split(labels[rest], labels[rest], groups[rest])))
    splits = np.full(len(labels), "train", dtype=object)
    splits[test], splits[rest[validation]] = "test", "val"
    for name in ("train", "val", "test"):
        if len(set(labels[splits == name])) < 2:
            raise DatasetError(
                f"fold {fold}/{count} leaves {name} without one of the classes: use fewer folds"
            )
    return dataclasses.replace(dataset, index=dataset.index.assign(split=splits), fold=f"{fold}/{count}")
