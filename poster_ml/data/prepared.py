"""The prepared dataset, written: posters decoded, grouped, split, and saved whole or not at all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml import __version__
from poster_ml.data.decoding import PreparedPoster, prepare_posters
from poster_ml.data.duplicates import PRINT_LENGTH, duplicate_table, find_groups
from poster_ml.data.images import FITS
from poster_ml.data.leakage import leakage_summary
from poster_ml.data.reading import FORMAT_VERSION, PREPARED, PreparedDataset
from poster_ml.data.splits import FRACTIONS, KINDS, SPLITS, assign_splits
from poster_ml.data.writer import ArrayWriter, check_space
from poster_ml.errors import DatasetError, nearest
from poster_ml.files import atomic_folder
from poster_ml.progress import progress
from poster_ml.seeding import generator

__all__ = ["PreparedDataset", "prepare"]

TABLE_COLUMNS = ("movie_id", "title", "year", "genres", "label", "tomatometer_rating", "image")
REJECTED_COLUMNS = ("row", "movie_id", "reason")
INDEX_COLUMNS = (
    "movie_id", "title", "year", "genres", "label", "tomatometer_rating", "split", "duplicate_group",
    "sha256", "width", "height", "row", "file_bytes", "format", "perceptual_hash",
)  # fmt: skip
MIN_SIZE, MAX_SIZE = 16, 2048

Fractions = tuple[float, float, float]


@dataclass(frozen=True)
class _Options:
    """What was asked for; goes into the manifest as it is."""

    size: int
    fit: str
    split: str
    seed: int
    limit: int
    fractions: Fractions | None

    def check(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise DatasetError(f"size must be between {MIN_SIZE} and {MAX_SIZE} pixels, got {self.size}")
        if self.fit not in FITS:
            raise DatasetError(f"fit {self.fit!r} is not one of {', '.join(FITS)}{nearest(self.fit, FITS)}")
        if self.split not in KINDS:
            raise DatasetError(
                f"split {self.split!r} is not one of {', '.join(KINDS)}{nearest(self.split, KINDS)}"
            )
        if self.limit < 0:
            raise DatasetError(f"limit must be 0 (all posters) or more, got {self.limit}")


def prepare(  # noqa: PLR0913 - one argument per option of the command
    table: pd.DataFrame,
    rejected: pd.DataFrame,
    out: Path,
    *,
    size: int,
    fit: str,
    split: str,
    seed: int,
    limit: int = 0,
    fractions: Fractions | None = None,
    workers: int | None = None,
    source: dict[str, Any] | None = None,
) -> PreparedDataset:
    """Writes a prepared dataset and opens it. `out` holds the old one until the new one is whole.

    Args:
        table: one row per movie: movie_id, title, year, genres (`|` between them), label (0/1),
            tomatometer_rating, image (path, "" where there is none); `row`, its 1-based number in the
            input, where rows were dropped before, else counted here.
        rejected: rows dropped before: row, movie_id, reason.
        out: the folder of the dataset.
        size: side of the pictures in pixels, 16 to 2048.
        fit: "squash", "pad" or "crop", see `images.decode_poster`.
        split: "grouped", "stratified" or "study"; with `seed` and `fractions` as for `splits.assign_splits`.
        limit: use at most so many posters, 0 for all: the study split takes the first rows, as the study did,
            the others draw rows at random (tables are often sorted by year), keeping their order.
        workers: processes, None for every core. The bytes written do not depend on it.
        source: where the table and posters came from, for the manifest.

    Raises: DatasetError where no dataset can be made of it; OutputError where `out` holds other files; the
        old one stays.
    """
    options = _Options(size, fit, split, seed, limit, fractions)
    options.check()
    rows = _numbered(table)
    dropped = [
        (int(row), str(name), str(why)) for row, name, why in rejected[list(REJECTED_COLUMNS)].to_numpy()
    ]
    rows, refused = _without_unusable(rows)
    dropped += refused
    rows, left_out = _limited(rows, options)
    dropped += left_out
    check_space(out, len(rows), size)

    with atomic_folder(out, PREPARED) as folder:
        index, prints, digest, refused = _write_images(rows, folder / "images.npy", options, workers)
        dropped += refused
        _check_enough(index, len(table) + len(rejected), dropped)
        hashes = np.array([int(value, 16) for value in index["perceptual_hash"]], np.uint64)
        index["duplicate_group"] = find_groups(hashes, prints, list(index["sha256"]))
        index = assign_splits(index, split, seed=seed, fractions=fractions)[list(INDEX_COLUMNS)]
        index_bytes = index.to_csv(index=False, lineterminator="\n").encode()
        (folder / "index.csv").write_bytes(index_bytes)
        digest.update(index_bytes)
        reasons = _write_rejected(dropped, folder / "rejected.csv")
        duplicate_table(index).to_csv(folder / "duplicates.csv", index=False, lineterminator="\n")
        manifest = _manifest(index, options, source, reasons) | {"fingerprint": digest.hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return PreparedDataset.open(out)


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in TABLE_COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"table lacks the columns {missing=}")
    rows = table.reset_index(drop=True)
    if "row" not in rows.columns:
        rows["row"] = np.arange(1, len(rows) + 1)
    rows["movie_id"] = rows["movie_id"].astype(str)
    return rows


def _without_unusable(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[int, str, str]]]:
    """Takes out rows without a file, and later rows of a movie that has one; returns rows and reasons."""
    reasons: dict[int, str] = {}
    seen: dict[str, int] = {}
    for position, (movie_id, image, row) in enumerate(
        zip(rows["movie_id"], rows["image"], rows["row"], strict=True)
    ):
        if pd.isna(image) or not str(image):
            reasons[position] = "missing file: no poster for this movie"
        elif not Path(str(image)).is_file():
            reasons[position] = f"missing file: {Path(str(image)).name}"
        elif movie_id in seen:
            reasons[position] = f"repeated movie_id: already in row {seen[movie_id]}"
        else:
            seen[movie_id] = int(row)
    positions = list(reasons)
    named = rows.iloc[positions][["row", "movie_id"]].to_numpy()
    refused = [(int(row), name, reasons[at]) for at, (row, name) in zip(positions, named, strict=True)]
    return rows.drop(index=rows.index[positions]), refused


def _limited(rows: pd.DataFrame, options: _Options) -> tuple[pd.DataFrame, list[tuple[int, str, str]]]:
    if not 0 < options.limit < len(rows):
        return rows, []
    chosen = np.zeros(len(rows), np.bool_)
    if options.split == "study":
        chosen[: options.limit] = True
    else:
        random = generator(options.seed, "limit")
        chosen[random.choice(len(rows), options.limit, replace=False)] = True
    reason = f"left out: --limit {options.limit}"
    left_out = [(int(row), name, reason) for row, name in rows.loc[~chosen, ["row", "movie_id"]].to_numpy()]
    return rows[chosen], left_out


def _write_images(
    rows: pd.DataFrame, path: Path, options: _Options, workers: int | None
) -> tuple[pd.DataFrame, Any, Any, list[tuple[int, str, str]]]:
    """Decodes every row's file into `path`.

    Returns: the accepted rows with what the files told, their colour prints (N, 768), the running digest of
        the pixels, and the refused rows.
    """
    files = [Path(str(image)) for image in rows["image"]]
    accepted: list[int] = []
    told: list[tuple[object, ...]] = []
    prints = np.empty((len(rows), PRINT_LENGTH), np.uint8)
    refused: list[tuple[int, str, str]] = []
    results = prepare_posters(files, options.size, options.fit, workers)
    named = list(zip(rows["row"], rows["movie_id"], strict=True))
    with ArrayWriter(path, options.size) as writer:
        for position, poster in enumerate(progress(results, "decoding posters", total=len(rows))):
            if not isinstance(poster, PreparedPoster):
                refused.append((int(named[position][0]), named[position][1], poster))
                continue
            prints[writer.count] = poster.colour_print
            writer.append(poster.pixels)
            accepted.append(position)
            facts = (poster.sha256, poster.width, poster.height, poster.file_bytes, poster.format)
            told.append((*facts, f"{poster.perceptual_hash:016x}"))
    columns = ["sha256", "width", "height", "file_bytes", "format", "perceptual_hash"]
    index = rows.iloc[accepted].reset_index(drop=True)
    index[columns] = pd.DataFrame(told, columns=columns)
    return _typed(index), prints[: writer.count], writer.digest, refused


def _typed(index: pd.DataFrame) -> pd.DataFrame:
    index["title"] = index["title"].fillna("").astype(str)
    index["genres"] = index["genres"].fillna("").astype(str)
    index["year"] = index["year"].astype("Int64")
    index["label"] = index["label"].astype(np.int64)
    index["tomatometer_rating"] = index["tomatometer_rating"].astype(np.float64)
    return index


def _kind(reason: str) -> str:
    return reason.split(":", 1)[0]


def _check_enough(index: pd.DataFrame, rows: int, dropped: Sequence[tuple[int, str, str]]) -> None:
    """Refuses a dataset of which nothing can be learned, and says what became of the rows."""
    fresh = int((index["label"] == 1).sum())
    if fresh and fresh < len(index):
        return
    common = Counter(_kind(reason) for _, _, reason in dropped).most_common(3)
    why = ", ".join(f"{count} x {kind}" for kind, count in common)
    have = f"all {len(index)} usable posters are {'Fresh' if fresh else 'Rotten'}" if len(index) else ""
    found = have or "no poster can be used"
    raise DatasetError(
        f"of {rows} rows {found}"
        + (f" ({why})" if why else "")
        + "; check --table, --posters and the label column"
    )


def _write_rejected(dropped: list[tuple[int, str, str]], path: Path) -> dict[str, int]:
    """Writes the rejected rows in the order of the input; returns how many of each kind, most first."""
    table = pd.DataFrame(dropped, columns=list(REJECTED_COLUMNS)).sort_values("row", kind="stable")
    table.to_csv(path, index=False, lineterminator="\n")
    return dict(Counter(_kind(reason) for _, _, reason in dropped).most_common())


def _manifest(
    index: pd.DataFrame, options: _Options, source: dict[str, Any] | None, reasons: dict[str, int]
) -> dict[str, Any]:
    """Describes the dataset; nothing in it depends on when or on how many cores it was made."""
    balance: dict[str, dict[str, float]] = {}
    for name in SPLITS:
        labels = index.loc[index["split"] == name, "label"]
        fresh = int(labels.sum())
        balance[name] = {
            "posters": len(labels),
            "fresh": fresh,
            "rotten": len(labels) - fresh,
            "fresh_share": round(fresh / len(labels), 6),
        }
    duplicates = leakage_summary(index)
    study: int | None = 0
    if duplicates["duplicate_groups"]:
        # The study's own split fails on a handful of posters; there is nothing to compare with then.
        try:
            study = leakage_summary(index, "study", seed=42)["leaking_pairs"]
        except DatasetError:
            study = None
    fractions = None if options.split == "study" else list(options.fractions or FRACTIONS)
    refused = sum(reasons.values())
    return {
        "format_version": FORMAT_VERSION,
        "created_by": f"poster-ml {__version__}",
        "options": {**vars(options), "fractions": fractions},
        "source": source or {},
        "shape": [len(index), options.size, options.size, 3],
        "counts": {"rows": len(index) + refused, "accepted": len(index), "rejected": refused},
        "rejected_by_reason": reasons,
        "class_balance": balance,
        "duplicates": {**duplicates, "leaking_pairs_under_study_split": study},
    }
