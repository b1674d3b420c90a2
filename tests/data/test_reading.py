"""Reading a prepared dataset: rows of a split, and every way in which a folder can be no dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.data.prepared import prepare
from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 200 posters, 60 % Fresh."""
    folder = tmp_path_factory.mktemp("reading")
    random = np.random.default_rng(0)
    images = [folder / f"{number:04d}.png" for number in range(200)]
    for path in images:
        Image.fromarray(random.integers(0, 256, (6, 4, 3), np.uint8)).resize((40, 60)).save(path)
    table = pd.DataFrame({
        "movie_id": [path.stem for path in images], "title": "T", "year": 2000, "genres": "Drama",
        "label": [int(number % 5 < 3) for number in range(200)], "tomatometer_rating": None,
        "image": [str(path) for path in images],
    })  # fmt: skip
    rejected = pd.DataFrame(columns=["row", "movie_id", "reason"])
    prepare(table, rejected, folder / "out", size=16, fit="squash", split="stratified", seed=0)
    return folder / "out"


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(written, tmp_path / "data"))


def test_the_splits_cover_every_poster_once(written: Path) -> None:
    dataset = PreparedDataset.open(written)
    parts = [dataset.indices(name) for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [128, 32, 40]
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    assert dataset.labels(parts[2]).tolist() == dataset.index["label"].to_numpy()[parts[2]].tolist()
    assert dataset.index["movie_id"].tolist()[7] == "0007", "ids keep their zeros"
    assert dataset.size == 16


def test_a_limit_gives_each_split_its_share_of_both_classes(written: Path) -> None:
    dataset = PreparedDataset.open(written)
    train = dataset.indices("train", limit=100, seed=3)
    assert len(train) == 64
    assert dataset.labels(train).mean() == pytest.approx(0.6, abs=0.02)
    assert set(train) <= set(dataset.indices("train"))
    assert (np.diff(train) > 0).all()
    assert train.tolist() == dataset.indices("train", limit=100, seed=3).tolist()
    assert train.tolist() != dataset.indices("train", limit=100, seed=4).tolist()
    assert [len(dataset.indices("val", limit=limit)) for limit in (0, 200, 1000)] == [32, 32, 32]


def test_a_tiny_limit_leaves_two_of_each_class(written: Path) -> None:
    dataset = PreparedDataset.open(written)
    for name in ("train", "val", "test"):
        assert np.bincount(dataset.labels(dataset.indices(name, limit=1))).tolist() == [2, 2]


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


UNFIT = "images.npy is [200, 16, 16, 3] uint8, index.csv has {} rows, manifest.json says [{}, 16, 16, 3]"
CLASSES = "index.csv must have labels 0 and 1 in each of train, val, test, and no others"
BROKEN = [
    ("[Errno 2] No such file", lambda folder: (folder / "images.npy").unlink()),
    ("its format has version 2, this program reads 1", edit_manifest(format_version=2)),
    ("Expecting property name", lambda folder: (folder / "manifest.json").write_text("{")),
    (UNFIT.format(199, 200), edit_index(lambda index: index.iloc[1:])),
    (UNFIT.format(200, 9), edit_manifest(shape=[9, 16, 16, 3])),
    ("images.npy is [200, 16, 8, 3] uint8", save_images(np.zeros((200, 16, 8, 3), np.uint8))),
    ("images.npy is [200, 16, 16, 3] float32", save_images(np.zeros((200, 16, 16, 3), np.float32))),
    ("index.csv or manifest.json lacks year", edit_index(lambda index: index.drop(columns="year"))),
    (CLASSES, edit_index(lambda index: index.assign(label="2"))),
    (CLASSES, edit_index(lambda index: index.assign(split="train"))),
    (CLASSES, edit_index(lambda index: index.assign(split=["x", *index["split"].iloc[1:]]))),
    ("", lambda folder: (folder / "images.npy").write_bytes(b"junk")),
    ("", lambda folder: (folder / "images.npy").write_bytes(b"")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "breaks"), BROKEN)
def test_a_broken_folder_is_told_with_its_remedy(
    folder: Path, what: str, breaks: Callable[[Path], None]
) -> None:
    breaks(folder)
    with pytest.raises(DatasetError) as caught:
        PreparedDataset.open(folder)
    message = str(caught.value)
    assert message.startswith(f"prepared dataset {folder} is broken: {what}")
    assert message.endswith(f"; make it with: poster-ml preprocess --table FILE --posters DIR --out {folder}")
    assert "\n" not in message


def test_a_missing_folder_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        PreparedDataset.open(tmp_path / "none")
    assert str(caught.value) == (
        f"prepared dataset {tmp_path / 'none'} does not exist; "
        f"make it with: poster-ml preprocess --table FILE --posters DIR --out {tmp_path / 'none'}"
    )


def test_verify_sees_a_changed_pixel_and_a_changed_label(folder: Path) -> None:
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
