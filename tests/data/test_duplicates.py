"""Duplicates: altered copies are found, other pictures are not, groups are closed."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from poster_ml.data.duplicates import (
    colour_print,
    duplicate_table,
    find_groups,
    leakage_summary,
    perceptual_hash,
)
from poster_ml.data.images import decode_poster
from tests.pictures import encode, poster


def features(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    thumbnails = [decode_poster(encode(image, "JPEG", quality=90), 64).thumbnail for image in images]
    hashes = np.array([perceptual_hash(thumbnail) for thumbnail in thumbnails], np.uint64)
    return hashes, np.stack([colour_print(thumbnail) for thumbnail in thumbnails])


def groups_of(hashes: np.ndarray, prints: np.ndarray) -> list[int]:
    """The groups of files that all differ."""
    return find_groups(hashes, prints, [str(number) for number in range(len(hashes))]).tolist()


ALTERED = {
    "saved again": lambda image: Image.open(io.BytesIO(encode(image, "JPEG", quality=30))),
    "half the size": lambda image: image.resize((91, 134)),
    "twice the size": lambda image: image.resize((364, 536)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "trimmed": lambda image: image.crop((2, 3, 180, 265)),
}


@pytest.mark.parametrize("change", ALTERED)
def test_an_altered_copy_is_in_the_group_of_its_original(change):
    originals = [poster(seed, 182, 268) for seed in range(20)]
    hashes, prints = features(originals + [ALTERED[change](image) for image in originals])
    assert groups_of(hashes, prints) == [*range(20), *range(20)]


def test_different_pictures_stay_apart():
    hashes, prints = features([poster(seed, 182, 268) for seed in range(150)])
    assert groups_of(hashes, prints) == list(range(150))


def test_neither_the_hash_nor_the_colours_alone_make_a_group():
    random = np.random.default_rng(0)
    different = random.integers(0, 256, (2, 768), np.uint8)
    assert groups_of(np.zeros(2, np.uint64), different) == [0, 1]
    same = np.repeat(different[:1], 2, axis=0)
    assert groups_of(np.array([0, 2**10 - 1], np.uint64), same) == [0, 0], "10 bits are allowed"
    assert groups_of(np.array([0, 2**11 - 1], np.uint64), same) == [0, 1], "11 are not"


def test_groups_are_transitive_and_numbered_by_first_appearance():
    prints = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 768), np.uint8), 5, axis=0)
    lone, a, b, c = 2**64 - 1, 0, 2**8 - 1, 2**16 - 1  # a-b 8 bits, b-c 8 bits, a-c 16
    hashes = np.array([lone, c, a, b, lone], np.uint64)
    assert groups_of(hashes, prints) == [0, 1, 1, 1, 0]


def test_equal_files_are_one_group_whatever_they_look_like():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**62, 4).astype(np.uint64)
    prints = random.integers(0, 256, (4, 768), np.uint8)
    assert find_groups(hashes, prints, ["x", "y", "x", "z"]).tolist() == [0, 1, 0, 2]


def test_blocks_give_what_a_plain_double_loop_gives(monkeypatch):
    monkeypatch.setattr("poster_ml.data.duplicates._PAIRS_AT_ONCE", 700)
    monkeypatch.setattr("poster_ml.data.duplicates._CHECKED_AT_ONCE", 7)
    random = np.random.default_rng(3)
    prints = np.repeat(random.integers(0, 256, (1, 768), np.uint8), 120, axis=0)
    monkeypatch.setattr("poster_ml.data.duplicates.MAX_DISTANCE", 2)
    hashes = random.integers(0, 2**12, 120).astype(np.uint64)
    expected = list(range(120))
    for a in range(120):
        for b in range(120):
            if int(hashes[a] ^ hashes[b]).bit_count() <= 2 and expected[a] != expected[b]:
                old, new = sorted((expected[a], expected[b]), reverse=True)
                expected = [new if value == old else value for value in expected]
    found = np.array(groups_of(hashes, prints))
    assert [min(np.flatnonzero(found == group)) for group in found] == expected
    assert 1 < len(set(expected)) < 120


def test_pictures_of_one_colour_do_not_divide_by_zero_nor_none_at_all():
    assert groups_of(np.zeros(0, np.uint64), np.zeros((0, 768), np.uint8)) == []
    prints = np.stack([np.full(768, 10, np.uint8), np.full(768, 200, np.uint8)])
    assert groups_of(np.zeros(2, np.uint64), prints) == [0, 1]
    assert perceptual_hash(np.full((64, 64, 3), 90, np.uint8)) >= 0


def test_the_table_lists_groups_with_both_labels():
    index = pd.DataFrame({
        "movie_id": list("abcde"), "title": list("ABCDE"), "year": 2000, "label": [1, 1, 0, 0, 1], "split": "train",
        "sha256": ["s", "t", "s", "u", "u"], "duplicate_group": [7, 1, 7, 2, 2],
    })  # fmt: skip
    index.loc[4, "sha256"], index.loc[4, "label"] = "v", 0
    table = duplicate_table(index)
    assert table[["movie_id", "exact", "labels_differ"]].to_numpy().tolist() == [
        ["d", False, False], ["e", False, False], ["a", True, True], ["c", True, True],
    ]  # fmt: skip


def test_leaks_are_counted_pair_by_pair():
    random = np.random.default_rng(0)
    index = pd.DataFrame({
        "label": random.integers(0, 2, 300), "duplicate_group": random.integers(0, 150, 300),
        "split": random.choice(["train", "val", "test"], 300),
    })  # fmt: skip
    rows = list(index.itertuples())
    twins = [(a, b) for a in rows for b in rows[: a.Index] if a.duplicate_group == b.duplicate_group]
    leaks = [a.duplicate_group for a, b in twins if a.split != b.split]
    assert leakage_summary(index) == {
        "duplicate_groups": len({a.duplicate_group for a, _ in twins}),
        "duplicate_posters": len({one.Index for pair in twins for one in pair}),
        "groups_with_both_labels": len({a.duplicate_group for a, b in twins if a.label != b.label}),
        "leaking_pairs": len(leaks),
        "leaking_groups": len(set(leaks)),
    }
    assert set(leakage_summary(index.drop_duplicates("duplicate_group")).values()) == {0}
