"""Cross-validation: every poster is a test poster once, scored by a network that has not seen it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from poster_ml.errors import DatasetError
from poster_ml.seeding import derive_seed

MOST_FOLDS = 20
VALIDATION_PARTS = 5  # a fifth of what is not tested selects the epoch: 16 % of all with five folds


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


def assign_fold(index: pd.DataFrame, fold: int, count: int, *, seed: int) -> pd.DataFrame:
    """Gives every poster a split for one fold: grouped, so that near-identical posters stay on one side.

    Args:
        index: one row per poster: label (0/1) and duplicate_group.
        fold, count: as from `parse_fold`.
        seed: int >= 0; the folds of one seed are disjoint and cover all posters.

    Returns: a new table, same rows and order, with `split`; the input is untouched.

    Raises: DatasetError where a split would lack a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = index["label"].to_numpy(np.int64)
    groups = index["duplicate_group"].to_numpy()
    if len(index) < count or np.bincount(labels, minlength=2).min() < count:
        raise DatasetError(
            f"{count} folds need {count} Fresh and {count} Rotten posters or more: use fewer folds"
        )
    outer = StratifiedGroupKFold(count, shuffle=True, random_state=derive_seed(seed, "folds", count))
    rest, test = list(outer.split(labels, labels, groups))[fold - 1]
    inner = StratifiedGroupKFold(
        VALIDATION_PARTS, shuffle=True, random_state=derive_seed(seed, "fold", count, fold)
    )
    _, validation = next(iter(inner.split(labels[rest], labels[rest], groups[rest])))
    splits = np.full(len(index), "train", dtype=object)
    splits[test], splits[rest[validation]] = "test", "val"
    for name in ("train", "val", "test"):
        if len(set(labels[splits == name])) < 2:
            raise DatasetError(
                f"fold {fold}/{count} leaves {name} without one of the classes: use fewer folds"
            )
    return index.assign(split=splits)
