"""Leakage: near-identical posters on two sides of a split, which fake a result."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from poster_ml.data.splits import KINDS, assign_splits

COLUMNS = (
    "duplicate_group", "movie_id_a", "split_a", "label_a", "movie_id_b", "split_b", "label_b",
)  # fmt: skip


def leaking_pairs(index: pd.DataFrame, split: str = "split", *, seed: int = 42) -> pd.DataFrame:
    """Lists the pairs of one duplicate group that a split puts on two sides.

    Args:
        index: one row per poster: movie_id, label, duplicate_group.
        split: a column of `index` that holds the split, or a kind of split ("study", "stratified",
            "grouped") to be tried on these posters.
        seed: of that kind of split; the study's is 42.

    Returns: one row per pair: duplicate_group, then movie_id, split and label of both (`_a`, `_b`).

    Raises: ValueError where `split` is neither; DatasetError where the kind cannot split these posters.
    """
    if split in KINDS:
        index, split = assign_splits(index, split, seed=seed), "split"
    if split not in index.columns:
        raise ValueError(f"split must be a column of index or one of {', '.join(KINDS)}, got {split=}")
    shared = index[index["duplicate_group"].duplicated(keep=False)]
    pairs: list[tuple[object, ...]] = []
    for group, posters in shared.groupby("duplicate_group", sort=True):
        rows = list(zip(posters["movie_id"], posters[split], posters["label"], strict=True))
        pairs.extend((group, *a, *b) for a, b in combinations(rows, 2) if a[1] != b[1])
    return pd.DataFrame(pairs, columns=list(COLUMNS))


def leakage_summary(index: pd.DataFrame, split: str = "split", *, seed: int = 42) -> dict[str, int]:
    """Counts duplicates and what a split makes of them; arguments and errors as for `leaking_pairs`.

    Returns: duplicate_groups (of two or more), duplicate_posters (in them), groups_with_both_labels,
        leaking_pairs, leaking_groups.
    """
    shared = index[index["duplicate_group"].duplicated(keep=False)]
    pairs = leaking_pairs(index, split, seed=seed)
    labels = shared.groupby("duplicate_group")["label"].nunique()
    return {
        "duplicate_groups": int(shared["duplicate_group"].nunique()),
        "duplicate_posters": len(shared),
        "groups_with_both_labels": int((labels > 1).sum()),
        "leaking_pairs": len(pairs),
        "leaking_groups": int(pairs["duplicate_group"].nunique()),
    }
