"""Duplicates: posters that are the same picture, exactly or nearly.

A 64-bit perceptual hash proposes pairs, a small colour picture confirms them, and pairs that share
a poster are one group. Source of the hash: DCT sign hash after Zauner 2010, "Implementation and
benchmarking of perceptual image hash functions", section 3.2.1; compared with all others by XOR and
a population count.

Evidence for the two thresholds, measured on the 6,390 development posters (20.4 million pairs):
- distinct posters: 34 pairs lie within 10 bits, the nearest at 8; the 8 nearest are different
  pictures by eye, and all 34 have a colour correlation below .74, so no pair passes both tests (0
  found). Within 12 bits one pair passes a correlation of .80, within 16 bits eleven do. The highest
  correlation of all is .952 (two red posters), 30 bits apart: neither test suffices alone.
- altered copies of 400 posters, share found again (with a correlation of .85, stricter than now):
  JPEG quality 30, half and double size, contrast x 0.7 and 1 % cropped off each side 100 %;
  brightness x 1.3 99.8 %; 2 % cropped 99.5 %; 4 % cropped about 75 %; a 3 % white frame about 54 %;
  a sticker about 50 %; a white band of 10 % about 30 %; in grey about 70 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from poster_ml.data.images import THUMBNAIL, Pixels
from poster_ml.progress import progress

MAX_DISTANCE = 10  # bits of 63 (the bit of the mean is always 0)
MIN_CORRELATION = 0.8
PRINT_SIDE = 16
PRINT_LENGTH = PRINT_SIDE * PRINT_SIDE * 3
_PAIRS_AT_ONCE = 2_000_000  # compared hashes per block: 16 MB of XOR
_CHECKED_AT_ONCE = 4096  # confirmed pairs per block: 25 MB of float32
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# The first 8 rows of the DCT-II matrix of length 32, (8, 32), not normalised.
_DCT = np.cos(np.pi * (2 * np.arange(32) + 1) * np.arange(8)[:, None] / 64).astype(np.float32)


def perceptual_hash(thumbnail: Pixels) -> int:
    """Hashes what a poster looks like, little changed by scaling, compression, contrast or brightness.

    Args:
        thumbnail: (64, 64, 3) uint8, `images.DecodedPoster.thumbnail`.

    Returns: 64 bits: which of the 8 x 8 lowest DCT frequencies of the grey picture exceed their median.
    """
    grey = (thumbnail.astype(np.float32) @ _LUMA).reshape(32, 2, 32, 2).mean(axis=(1, 3))  # (32, 32)
    frequencies = (_DCT @ grey @ _DCT.T).ravel()  # (64,)
    bits = frequencies > np.median(frequencies[1:])
    bits[0] = False  # the mean brightness says nothing about the picture
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def colour_print(thumbnail: Pixels) -> Pixels:
    """Reduces a (64, 64, 3) uint8 thumbnail to 16 x 16 area averages; returns (768,) uint8."""
    cell = THUMBNAIL // PRINT_SIDE
    cells = thumbnail.reshape(PRINT_SIDE, cell, PRINT_SIDE, cell, 3).mean(axis=(1, 3))
    return np.asarray(cells.round().astype(np.uint8).ravel())


def find_groups(
    hashes: npt.NDArray[np.uint64], prints: Pixels, contents: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Groups posters that show the same picture.

    Args:
        hashes: (N,) uint64 from `perceptual_hash`.
        prints: (N, 768) uint8 from `colour_print`.
        contents: (N) checksums of the files; equal ones are one group whatever they look like.

    Returns: (N,) int64 group per poster, numbered from 0 in the order of first appearance. Groups are
        transitive: a is with c where a is like b and b is like c.
    """
    # Identical files are one already: a placeholder that came a thousand times costs one comparison.
    _, first, file = np.unique(contents, return_index=True, return_inverse=True)
    sets = DisjointSet(range(len(first)))
    for left, right in _same_pictures(hashes[first], prints[first]):
        sets.merge(left, right)
    group = np.array([sets[number] for number in file.tolist()], np.int64)
    return np.asarray(pd.factorize(group)[0], np.int64)


def _same_pictures(hashes: npt.NDArray[np.uint64], prints: Pixels) -> Iterator[tuple[int, int]]:
    """Yields every pair that both the hashes and the colours say is one picture."""
    count = len(hashes)
    block = max(1, _PAIRS_AT_ONCE // max(count, 1))
    for start in progress(range(0, count, block), "comparing posters", brief=True):
        later = hashes[None, start:]
        distance = np.bitwise_count(hashes[start : start + block, None] ^ later)  # (b, N - start)
        pairs = start + np.argwhere(np.triu(distance <= MAX_DISTANCE, k=1))  # (P, 2), every pair once
        for at in range(0, len(pairs), _CHECKED_AT_ONCE):
            some = pairs[at : at + _CHECKED_AT_ONCE]
            left, right = (_standardised(prints[side]) for side in some.T)
            yield from map(tuple, some[(left * right).mean(axis=1) >= MIN_CORRELATION].tolist())


def _standardised(prints: Pixels) -> npt.NDArray[np.float32]:
    """Takes brightness and contrast out of (n, 768) prints; a print of one colour becomes zeros."""
    values = prints.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(values.std(axis=1, keepdims=True), 1e-3))


def duplicate_table(index: pd.DataFrame) -> pd.DataFrame:
    """Lists every poster that has a duplicate, group by group.

    Args:
        index: one row per poster, with movie_id, title, year, label, split, sha256, duplicate_group.

    Returns: those columns, with `exact` (another poster of the group is the same file) and `labels_differ`
        (the group has Fresh and Rotten posters: one of the labels, or one of the posters, is wrong).
    """
    columns = ["duplicate_group", "movie_id", "title", "year", "label", "split", "sha256"]
    shared = index["duplicate_group"].duplicated(keep=False)
    table = index.loc[shared, columns].sort_values("duplicate_group", kind="stable", ignore_index=True)
    table["exact"] = table["sha256"].duplicated(keep=False)
    table["labels_differ"] = table.groupby("duplicate_group")["label"].transform("nunique") > 1
    return table


def leakage_summary(index: pd.DataFrame) -> dict[str, int]:
    """Counts duplicates, and the pairs of them that a split puts on two sides: they fake a result.

    Args:
        index: one row per poster, with label, split, duplicate_group.

    Returns: duplicate_groups (of two or more), duplicate_posters (in them),
        groups_with_both_labels, leaking_pairs, leaking_groups.
    """
    shared = index[index["duplicate_group"].duplicated(keep=False)]
    groups = shared.groupby("duplicate_group")
    sides = shared.groupby(["duplicate_group", "split"]).size()
    together = (sides * (sides - 1) // 2).groupby("duplicate_group").sum()
    apart = groups.size() * (groups.size() - 1) // 2 - together
    return {
        "duplicate_groups": groups.ngroups,
        "duplicate_posters": len(shared),
        "groups_with_both_labels": int((groups["label"].nunique() > 1).sum()),
        "leaking_pairs": int(apart.sum()),
        "leaking_groups": int((apart > 0).sum()),
    }
