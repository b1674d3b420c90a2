"""The prepared dataset, read: a memory map, an index, and the rows of a split."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from poster_ml.data.images import Pixels
from poster_ml.data.splits import SPLITS
from poster_ml.errors import DatasetError, one_line
from poster_ml.files import FolderResult
from poster_ml.seeding import generator

FORMAT_VERSION = 1
#: How a prepared dataset is recognised before it is replaced; `explore` puts its figures into it.
PREPARED = FolderResult(
    "preprocess", "manifest.json", '"created_by": "poster-ml',
    (
        "images.npy", "index.csv", "rejected.csv", "manifest.json", "duplicates.csv",
        "exploration/*.png", "exploration/*.csv", "exploration/audit.json", "exploration/.poster-ml-explore",
    ),
)  # fmt: skip
_REMEDY = "make it with: poster-ml preprocess --table FILE --posters DIR --out"
_NEEDED = ("movie_id", "title", "year", "genres", "label", "tomatometer_rating", "split", "duplicate_group")

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """A prepared dataset, open for reading.

    Attributes:
        folder: where it lies.
        images: (N, size, size, 3) uint8 RGB, memory-mapped, read-only.
        index: N rows in the same order; movie_id, title and genres are texts, year is Int64 with gaps.
        manifest: what `manifest.json` says.
        fold: "2/5" where the splits are those of a fold (`folds.open_fold`), not those that were prepared.
    """

    folder: Path
    images: Pixels
    index: pd.DataFrame
    manifest: dict[str, Any]
    fold: str = field(default="", kw_only=True)

    @classmethod
    def open(cls, folder: Path) -> PreparedDataset:
        """Opens a dataset and checks that its parts fit each other (`verify` reads every byte as well).

        Raises: DatasetError with what is wrong and the command that makes a dataset.
        """
        if not (folder / "manifest.json").is_file():
            raise DatasetError(f"prepared dataset {folder} does not exist; {_REMEDY} {folder}")
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            if manifest["format_version"] != FORMAT_VERSION:
                version = manifest["format_version"]
                raise ValueError(f"its format has version {version}, this program reads {FORMAT_VERSION}")
            images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            index = _read_index(folder / "index.csv")
            _check(images, index, manifest)
        except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
            raise _broken(folder, one_line(error)) from None
        return cls(folder, images, index, manifest)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels and the index, hexadecimal."""
        return str(self.manifest["fingerprint"])

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return int(self.images.shape[1])

    def indices(self, split: str, limit: int = 0, seed: int = 0) -> Rows:
        """Returns the positions of a split's posters, rising.

        Args:
            split: "train", "val" or "test".
            limit: 0 for all; else the whole dataset is thought cut to about so many posters, of which the
                split gets its share, at least 2 of each class it has, with its own share of Fresh.
            seed: which posters are drawn; 0 is a seed like any other.

        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split=}")
        inside = np.flatnonzero((self.index["split"] == split).to_numpy()).astype(np.int64)
        if limit == 0 or limit >= len(self.index):
            return inside
        labels = self.labels(inside)
        wanted = round(limit * len(inside) / len(self.index))
        fresh = round(wanted * labels.mean())
        random = generator(seed, "rows", split)
        parts = []
        for label, share in ((1, fresh), (0, wanted - fresh)):
            members = inside[labels == label]
            count = min(len(members), max(2, share))
            parts.append(random.choice(members, count, replace=False))
        return np.sort(np.concatenate(parts))

    def labels(self, rows: Rows) -> Rows:
        """Returns the labels at these positions, (n,) int64: 1 Fresh, 0 Rotten."""
        return self.index["label"].to_numpy(np.int64)[rows]

    def verify(self) -> None:
        """Reads every byte and compares with the fingerprint; DatasetError where something was changed."""
        digest = pixel_digest(self.folder / "images.npy")
        digest.update((self.folder / "index.csv").read_bytes())
        if digest.hexdigest() != self.fingerprint:
            raise _broken(self.folder, "images.npy or index.csv is not what was written")


def pixel_digest(path: Path) -> hashlib._Hash:
    """Returns the SHA-256 of a `.npy` file's data without its header, read in pieces."""
    with path.open("rb") as handle:
        np.lib.format.read_magic(handle)
        np.lib.format.read_array_header_1_0(handle)
        return hashlib.file_digest(handle, "sha256")


def _broken(folder: Path, what: str) -> DatasetError:
    return DatasetError(f"prepared dataset {folder} is broken: {what}; {_REMEDY} {folder}")


def _read_index(path: Path) -> pd.DataFrame:
    # Without the usual words for "missing": there are movies called "None" and "NA".
    texts = ("movie_id", "title", "genres", "split", "sha256", "format", "perceptual_hash")
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(texts, str)
        | {"year": "Int64", "label": np.int64, "tomatometer_rating": np.float64},
        keep_default_na=False,
        na_values={"year": [""], "tomatometer_rating": [""]},
    )


def _check(images: Pixels, index: pd.DataFrame, manifest: dict[str, Any]) -> None:
    """Raises ValueError unless the three parts fit each other, and every split has both classes."""
    missing = [name for name in (*_NEEDED, "fingerprint") if name not in {*index.columns, *manifest}]
    if missing:
        raise ValueError(f"index.csv or manifest.json lacks {', '.join(missing)}")
    shape = [len(index), *images.shape[1:]]
    if list(images.shape) != shape or shape != manifest["shape"] or images.dtype != np.uint8:
        raise ValueError(
            f"images.npy is {list(images.shape)} {images.dtype}, index.csv has {len(index)} rows, "
            f"manifest.json says {manifest['shape']}"
        )
    if set(zip(index["split"], index["label"], strict=True)) != set(product(SPLITS, (0, 1))):
        raise ValueError(f"index.csv must have labels 0 and 1 in each of {', '.join(SPLITS)}, and no others")
