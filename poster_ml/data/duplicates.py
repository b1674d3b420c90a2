"""Duplicates: posters that are the same picture, exactly or nearly.

A 64-bit perceptual hash proposes pairs, a small colour picture confirms them, and pairs that share a poster
are one group. Source of the hash: DCT sign hash after Zauner 2010, "Implementation and benchmarking of
perceptual image hash functions", section 3.2.1; compared with all others by XOR and a population count.

Evidence for the two thresholds, measured on the 6,390 development posters (20.4 million pairs):
- distinct posters: 34 pairs lie within 10 bits, the nearest at 8; the 8 nearest are different pictures by
  eye, and all 34 have a colour correlation below .74, so no pair passes both tests (0 found). Within 12 bits
  one pair passes a correlation of .80, within 16 bits eleven do. The highest correlation of all is .952 (two
  red posters), 30 bits apart: neither test suffices alone.
- altered copies of 400 posters, share found again (with a correlation of .85, stricter than now): JPEG
  quality 30, half and double size, contrast x 0.7 and 1 % cropped off each side 100 %; brightness x 1.3
  99.8 %; 2 % cropped 99.5 %; 4 % cropped about 75 %; a 3 % white frame about 54 %; a sticker about 50 %; a
  white band of 10 % about 30 %; in grey about 70 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poster_ml.data.images import THUMBNAIL, Pixels
from poster_ml.progress import progress

if TYPE_CHECKING:
    import pandas as pd

MAX_DISTANCE = 10  # bits of 63 (the bit of the mean is always 0)
MIN_CORRELATION = 0.8
PRINT_SIDE = 16
PRINT_LENGTH = PRINT_SIDE * PRINT_SIDE * 3
_PAIRS_AT_ONCE = 2_000_000  # compared hashes per block: 16 MB of XOR
_CHECKED_AT_ONCE = 4096  # confirmed pairs per block: 25 MB of float32

Groups = npt.NDArray[np.int64]


def _cosines(length: int, frequencies: int) -> npt.NDArray[np.float32]:
    """Returns the first rows of the DCT-II matrix, (frequencies, length), not normalised."""
    positions = (2 * np.arange(length) + 1)[None, :]
    angles = np.pi * positions * np.arange(frequencies)[:, None] / (2 * length)
    return np.asarray(np.cos(angles), dtype=np.float32)


_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_DCT = _cosines(32, 8)


def perceptual_hash(thumbnail: Pixels) -> int:
    """Hashes what a poster looks like, little changed by scaling, compression, contrast or brightness.

    Args:
        thumbnail: (64, 64, 3) uint8, `images.UprightPoster.thumbnail`.

    Returns: 64 bits: which of the 8 x 8 lowest DCT frequencies of the grey picture exceed their median.
    """
    _check_thumbnail(thumbnail)
    grey = (thumbnail.astype(np.float32) @ _LUMA).reshape(32, 2, 32, 2).mean(axis=(1, 3))  # (32, 32)
    frequencies = (_DCT @ grey @ _DCT.T).ravel()  # (64,)
    bits = frequencies > np.median(frequencies[1:])
    bits[0] = False  # the mean brightness says nothing about the picture
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def colour_print(thumbnail: Pixels) -> Pixels:
    """Reduces a (64, 64, 3) uint8 thumbnail to 16 x 16 area averages; returns (768,) uint8."""
    _check_thumbnail(thumbnail)
    cell = THUMBNAIL // PRINT_SIDE
    cells = thumbnail.reshape(PRINT_SIDE, cell, PRINT_SIDE, cell, 3).mean(axis=(1, 3))
    return np.asarray(cells.round().astype(np.uint8).ravel())


def find_groups(
    hashes: npt.NDArray[np.uint64],
    prints: Pixels,
    contents: Sequence[str] | None = None,
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> Groups:
    """Finds posters that are the same picture. 16,000 posters take a few seconds and under 100 MB.

    Args:
        hashes: (N,) uint64 from `perceptual_hash`.
        prints: (N, 768) uint8 from `colour_print`.
        contents: (N) checksums of the files; equal ones are one group whatever they look like.
        max_distance: bits two hashes may differ in, 0 to 64.
        min_correlation: least correlation of the two colour prints, -1 to 1.

    Returns: (N,) int64 group per poster, numbered from 0 in the order of first appearance. Groups are
        transitive: a is with c where a is like b and b is like c.
    """
    count = len(hashes)
    import pandas as pd

    if prints.shape != (count, PRINT_LENGTH):
        raise ValueError(f"prints must be ({count}, {PRINT_LENGTH}), got {prints.shape=}")
    if not 0 <= max_distance <= 64:
        raise ValueError(f"max_distance must be between 0 and 64, got {max_distance=}")
    if contents is not None and len(contents) != count:
        raise ValueError(f"contents must have {count} entries, got {len(contents)=}")
    # Identical files are one already: a placeholder that came a thousand times costs one comparison.
    group = pd.factorize(np.arange(count) if contents is None else np.asarray(contents))[0]
    first = np.unique(group, return_index=True)[1]
    near = _near_groups(hashes[first], prints[first], max_distance, min_correlation)
    return np.asarray(pd.factorize(near[group])[0], np.int64)


def _near_groups(
    hashes: npt.NDArray[np.uint64], prints: Pixels, max_distance: int, min_correlation: float
) -> Groups:
    count = len(hashes)
    group = np.arange(count, dtype=np.int64)
    block = max(1, _PAIRS_AT_ONCE // max(count, 1))
    for start in progress(range(0, count, block), "comparing posters", brief=True):
        distance = np.bitwise_count(
            hashes[start : start + block, None] ^ hashes[None, start:]
        )  # (b, N - start)
        left, right = np.nonzero(distance <= max_distance)
        left, right = left + start, right + start
        # Every pair once, no poster with itself, none that others have joined already: a placeholder that
        # came a thousand times, each time saved anew, is a million pairs.
        asked = (right > left) & (group[left] != group[right])
        left, right = left[asked], right[asked]
        same = _same_picture(prints, left, right, min_correlation)
        if same.any():
            group = _merge(group, left[same], right[same])
    return group


def _same_picture(
    prints: Pixels, left: Groups, right: Groups, min_correlation: float
) -> npt.NDArray[np.bool_]:
    same = np.zeros(len(left), dtype=np.bool_)
    for start in range(0, len(left), _CHECKED_AT_ONCE):
        part = slice(start, start + _CHECKED_AT_ONCE)
        correlation = (_standardised(prints[left[part]]) * _standardised(prints[right[part]])).mean(axis=1)
        same[part] = correlation >= min_correlation
    return same


def _standardised(prints: Pixels) -> npt.NDArray[np.float32]:
    """Takes brightness and contrast out of (n, 768) prints; a print of one colour becomes zeros."""
    values = prints.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(values.std(axis=1, keepdims=True), 1e-3))


def _merge(group: Groups, left: Groups, right: Groups) -> Groups:
    """Joins groups along the pairs found: connected components of old groups and new pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(group)
    rows = np.concatenate([np.arange(count), left])
    columns = np.concatenate([group, right])  # a group's number is a poster of that group
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    component = connected_components(graph, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    return np.asarray(first[component], dtype=np.int64)


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


def _check_thumbnail(thumbnail: Pixels) -> None:
    if thumbnail.shape != (THUMBNAIL, THUMBNAIL, 3):
        raise ValueError(f"thumbnail must be ({THUMBNAIL}, {THUMBNAIL}, 3), got {thumbnail.shape=}")
