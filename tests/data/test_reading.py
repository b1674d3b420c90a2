"""Reading a prepared dataset: rows of a split, and every way in which a folder can be no dataset."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError
from tests.refusals import refusal


@pytest.fixture
def folder(tiny_dataset, tmp_path):
    """A copy to break."""
    return Path(shutil.copytree(tiny_dataset, tmp_path / "data"))


def test_the_splits_cover_every_poster_once(tiny_dataset):
    dataset = PreparedDataset.open(tiny_dataset)
    parts = [dataset.indices(name) for name in ("train", "val", "test")]
    assert sorted(np.concatenate(parts)) == list(range(160))
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    assert dataset.labels(parts[2]).tolist() == dataset.index["label"].to_numpy()[parts[2]].tolist()
    assert dataset.size == 40


def test_a_limit_gives_each_split_its_share_of_both_classes(tiny_dataset):
    dataset = PreparedDataset.open(tiny_dataset)
    whole = dataset.indices("train")
    half = dataset.indices("train", limit=80, seed=3)
    assert len(half) == len(whole) // 2
    assert dataset.labels(half).mean() == pytest.approx(dataset.labels(whole).mean(), abs=0.02)
    assert set(half) <= set(whole)
    assert (np.diff(half) > 0).all()
    assert half.tolist() == dataset.indices("train", limit=80, seed=3).tolist()
    assert half.tolist() != dataset.indices("train", limit=80, seed=4).tolist()
    for limit in (0, 160, 1000):
        assert dataset.indices("train", limit=limit).tolist() == whole.tolist()
    for name in ("train", "val", "test"):
        least = dataset.labels(dataset.indices(name, limit=1))
        assert np.bincount(least).tolist() == [2, 2], "two of each class at least"


def edit_index(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        change(pd.read_csv(folder / "index.csv", dtype=str)).to_csv(folder / "index.csv", index=False)

    return edit


def edit_manifest(**values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text()) | values
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return edit


def save_images(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "images.npy", array)


UNFIT = "images.npy is [160, 40, 40, 3] uint8, index.csv has {} rows, manifest.json says [{}, 40, 40, 3]"
CLASSES = "index.csv must have labels 0 and 1 in each of train, val, test, and no others"
BROKEN = [
    ("[Errno 2] No such file", lambda folder: (folder / "images.npy").unlink()),
    ("its format has version 2, this program reads 1", edit_manifest(format_version=2)),
    ("Expecting property name", lambda folder: (folder / "manifest.json").write_text("{")),
    (UNFIT.format(159, 160), edit_index(lambda index: index.iloc[1:])),
    (UNFIT.format(160, 9), edit_manifest(shape=[9, 40, 40, 3])),
    ("images.npy is [160, 40, 8, 3] uint8", save_images(np.zeros((160, 40, 8, 3), np.uint8))),
    ("images.npy is [160, 40, 40, 3] float32", save_images(np.zeros((160, 40, 40, 3), np.float32))),
    ("index.csv or manifest.json lacks year", edit_index(lambda index: index.drop(columns="year"))),
    (CLASSES, edit_index(lambda index: index.assign(label="2"))),
    (CLASSES, edit_index(lambda index: index.assign(split="train"))),
    (CLASSES, edit_index(lambda index: index.assign(split=["x", *index["split"].iloc[1:]]))),
    ("", lambda folder: (folder / "images.npy").write_bytes(b"junk")),
    ("", lambda folder: (folder / "images.npy").write_bytes(b"")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "breaks"), BROKEN)
def test_a_broken_folder_is_told_with_its_remedy(folder, what, breaks):
    breaks(folder)
    message = refusal(DatasetError, PreparedDataset.open, folder)
    assert message.startswith(f"prepared dataset {folder} is broken: {what}")
    assert message.endswith(f"; make it with: poster-ml preprocess --table FILE --posters DIR --out {folder}")


def test_a_missing_folder_is_told_with_its_remedy(tmp_path):
    assert refusal(DatasetError, PreparedDataset.open, tmp_path / "none") == (
        f"prepared dataset {tmp_path / 'none'} does not exist; "
        f"make it with: poster-ml preprocess --table FILE --posters DIR --out {tmp_path / 'none'}"
    )


def test_verify_sees_a_changed_pixel_and_a_changed_label(folder):
    dataset = PreparedDataset.open(folder)
    dataset.verify()
    for name in ("images.npy", "index.csv"):
        content = bytearray((folder / name).read_bytes())
        content[-2] ^= 1
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(DatasetError, match="is not what was written"):
            dataset.verify()
        (folder / name).write_bytes(original)
    dataset.verify()
