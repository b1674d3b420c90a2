"""The growing array: what NumPy reads is what was appended."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from poster_ml.data.writer import ArrayWriter, check_space, pixel_digest
from poster_ml.errors import DatasetError


@pytest.mark.parametrize("count", [0, 1, 9, 10, 1234])
def test_numpy_reads_what_was_appended(tmp_path: Path, count: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    with ArrayWriter(tmp_path / "images.npy", 4) as writer:
        for picture in pictures:
            writer.append(picture)
    assert np.array_equal(np.load(tmp_path / "images.npy"), pictures)
    assert writer.digest.hexdigest() == hashlib.sha256(pictures.tobytes()).hexdigest()
    assert pixel_digest(tmp_path / "images.npy").hexdigest() == writer.digest.hexdigest()
    if count:
        assert np.array_equal(np.load(tmp_path / "images.npy", mmap_mode="r"), pictures)


def test_pictures_that_are_not_contiguous_are_written_in_their_order(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 4, 4), np.uint8).transpose(1, 2, 0)
    with ArrayWriter(tmp_path / "images.npy", 4) as writer:
        writer.append(picture)
    assert np.array_equal(np.load(tmp_path / "images.npy")[0], picture)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        ArrayWriter(tmp_path / "images.npy", 4) as writer,
        pytest.raises(ValueError, match=r"must be \(4, 4, 3\)"),
    ):
        writer.append(np.zeros((4, 5, 3), np.uint8))


def test_a_full_disk_is_told_before_the_work(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "yet", 10, 224)
    with pytest.raises(
        DatasetError, match=r"^1000000000 posters of 224 x 224 need 150528\.0 GB, .* GB are free at "
    ):
        check_space(tmp_path / "not" / "yet", 10**9, 224)
