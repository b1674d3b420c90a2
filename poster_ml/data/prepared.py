"""The prepared dataset, written: posters decoded, grouped, split, and saved whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from poster_ml import __version__
from poster_ml.data.decoding import prepare_posters
from poster_ml.data.duplicates import PRINT_LENGTH, duplicate_table, find_groups
from poster_ml.data.images import FITS, Pixels
from poster_ml.data.leakage import leakage_summary
from poster_ml.data.reading import FORMAT_VERSION, PREPARED, PreparedDataset
from poster_ml.data.splits import FRACTIONS, KINDS, SPLITS, assign_splits, check_choice
from poster_ml.errors import DatasetError
from poster_ml.files import atomic_folder
from poster_ml.progress import progress
from poster_ml.seeding import generator

__all__ = ["PreparedDataset", "prepare"]

TABLE_COLUMNS = ("movie_id", "title", "year", "genres", "label", "tomatometer_rating", "image")
INDEX_COLUMNS = (
    "movie_id", "title", "year", "genres", "label", "tomatometer_rating", "split", "duplicate_group",
    "sha256", "width", "height", "row", "file_bytes", "format", "perceptual_hash",
)  # fmt: skip
FILE_FACTS = ["sha256", "width", "height", "file_bytes", "format", "perceptual_hash"]
MIN_SIZE, MAX_SIZE = 16, 2048

Fractions = tuple[float, float, float]


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
        source: where the table and posters are from, for the manifest.

    Raises: DatasetError where no dataset can be made of it; OutputError where `out` holds other files; the
        old one stays.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise DatasetError(f"size must be between {MIN_SIZE} and {MAX_SIZE} pixels, got {size}")
    check_choice("fit", fit, FITS)
    check_choice("split", split, KINDS)
    if limit < 0:
        raise DatasetError(f"limit must be 0 (all posters) or more, got {limit}")
    rows = _numbered(table)
    rows["reason"] = _unusable(rows)
    _limit(rows, split, seed, limit)
    _check_space(out, int((rows["reason"] == "").sum()), size)

    with atomic_folder(out, PREPARED) as folder:
        index, prints, digest = _write_images(rows, folder / "images.npy", size, fit, workers)
        dropped = _dropped(rejected, rows)
        reasons = dict(Counter(str(why).split(":")[0] for why in dropped["reason"]).most_common())
        _check_enough(index, len(table) + len(rejected), reasons)
        hashes = np.array([int(value, 16) for value in index["perceptual_hash"]], np.uint64)
        index["duplicate_group"] = find_groups(hashes, prints, list(index["sha256"]))
        index = assign_splits(index, split, seed=seed, fractions=fractions)[list(INDEX_COLUMNS)]
        index_bytes = index.to_csv(index=False, lineterminator="\n").encode()
        (folder / "index.csv").write_bytes(index_bytes)
        digest.update(index_bytes)
        dropped.to_csv(folder / "rejected.csv", index=False, lineterminator="\n")
        duplicate_table(index).to_csv(folder / "duplicates.csv", index=False, lineterminator="\n")
        shares = None if split == "study" else list(fractions or FRACTIONS)
        # Nothing in it depends on when or on how many cores it was made.
        manifest = {
            "format_version": FORMAT_VERSION,
            "created_by": f"poster-ml {__version__}",
            "options": {
                "size": size, "fit": fit, "split": split, "seed": seed, "limit": limit, "fractions": shares,
            },
            "source": source or {},
            "shape": [len(index), size, size, 3],
            "counts": {
                "rows": len(index) + len(dropped), "accepted": len(index), "rejected": len(dropped),
            },
            "rejected_by_reason": reasons,
            "class_balance": {name: _balance(index.loc[index["split"] == name, "label"]) for name in SPLITS},
            "duplicates": _duplicates(index),
            "fingerprint": digest.hexdigest(),
        }  # fmt: skip
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


def _unusable(rows: pd.DataFrame) -> list[str]:
    """Says of every row why it has no poster, or that its movie has one already; "" where it can be used."""
    reasons: list[str] = []
    seen: dict[str, int] = {}
    for movie_id, image, row in zip(rows["movie_id"], rows["image"], rows["row"], strict=True):
        reason = ""
        if pd.isna(image) or not str(image):
            reason = "missing file: no poster for this movie"
        elif not Path(str(image)).is_file():
            reason = f"missing file: {Path(str(image)).name}"
        elif movie_id in seen:
            reason = f"repeated movie_id: already in row {seen[movie_id]}"
        else:
            seen[movie_id] = int(row)
        reasons.append(reason)
    return reasons


def _limit(rows: pd.DataFrame, split: str, seed: int, limit: int) -> None:
    """Gives the usable rows beyond `limit` a reason why they are left out."""
    usable = np.flatnonzero(rows["reason"] == "")
    if not 0 < limit < len(usable):
        return
    chosen = np.arange(limit)
    if split != "study":
        chosen = generator(seed, "limit").choice(len(usable), limit, replace=False)
    rows.loc[np.delete(usable, chosen), "reason"] = f"left out: --limit {limit}"


def _check_space(folder: Path, posters: int, size: int) -> None:
    """Refuses to start what the disk cannot hold: DatasetError with what is needed and what is free."""
    needed = posters * size * size * 3
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DatasetError(
            f"{posters} posters of {size} x {size} need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free at {existing}; free some, or take a smaller --size or a --limit"
        )


def _write_images(
    rows: pd.DataFrame, path: Path, size: int, fit: str, workers: int | None
) -> tuple[pd.DataFrame, Pixels, hashlib._Hash]:
    """Decodes the file of every row without a reason into `path`; who cannot be decoded gets a reason.

    The file is written as a stream, its length put in at the end: pages of a memory map that were written to
    count as the process's memory until the system takes them back, 2.4 GB at 16,000 posters.

    Returns: the accepted rows with what was read from the files, their colour prints (N, 768), the running
        digest of the pixels.
    """
    digest = hashlib.sha256()
    facts: dict[int, list[object]] = {}
    prints: list[Pixels] = []
    wanted = rows[rows["reason"] == ""]
    posters = prepare_posters([Path(str(image)) for image in wanted["image"]], size, fit, workers)
    posters = progress(posters, "decoding posters", total=len(wanted))
    with path.open("wb") as file:
        _write_header(file, 0, size)
        for row, poster in zip(wanted.index, posters, strict=True):
            if isinstance(poster, str):
                rows.loc[row, "reason"] = poster
                continue
            file.write(poster.pixels.data)
            digest.update(poster.pixels.data)
            prints.append(poster.colour_print)
            facts[row] = [getattr(poster, name) for name in FILE_FACTS]
        file.seek(0)
        _write_header(file, len(facts), size)
    index = rows.loc[list(facts)].reset_index(drop=True)
    index[FILE_FACTS] = pd.DataFrame(list(facts.values()), columns=FILE_FACTS)
    index[["title", "genres"]] = index[["title", "genres"]].fillna("").astype(str)
    index = index.astype({"year": "Int64", "label": np.int64, "tomatometer_rating": np.float64})
    return index, np.array(prints, np.uint8).reshape(-1, PRINT_LENGTH), digest


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    """Writes the header of a `.npy` file; NumPy pads it so that the length does not depend on `count`."""
    shape = (count, size, size, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _dropped(rejected: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows rejected before and those with a reason now, in the order of the input."""
    types: dict[str, Any] = {"row": "int64", "movie_id": str, "reason": str}
    parts = [part[list(types)].astype(types) for part in (rejected, rows[rows["reason"] != ""])]
    return pd.concat(parts).sort_values("row", kind="stable", ignore_index=True)


def _check_enough(index: pd.DataFrame, rows: int, reasons: Mapping[str, int]) -> None:
    """Refuses a dataset of which nothing can be learned, and says what became of the rows."""
    fresh = int((index["label"] == 1).sum())
    if fresh and fresh < len(index):
        return
    why = ", ".join(f"{count} x {kind}" for kind, count in list(reasons.items())[:3])
    have = f"all {len(index)} usable posters are {'Fresh' if fresh else 'Rotten'}" if len(index) else ""
    found = have or "no poster can be used"
    raise DatasetError(
        f"of {rows} rows {found}"
        + (f" ({why})" if why else "")
        + "; check --table, --posters and the label: name its column with --column label=NAME, or the score "
        "from which a movie is Fresh with --score-threshold"
    )


def _balance(labels: pd.Series) -> dict[str, float]:
    fresh = int(labels.sum())
    return {
        "posters": len(labels),
        "fresh": fresh,
        "rotten": len(labels) - fresh,
        "fresh_share": round(fresh / len(labels), 6),
    }


def _duplicates(index: pd.DataFrame) -> dict[str, Any]:
    duplicates = leakage_summary(index)
    study: int | None = 0
    if duplicates["duplicate_groups"]:
        # The study's own split fails on a handful of posters; there is nothing to compare with then.
        try:
            study = leakage_summary(index, "study", seed=42)["leaking_pairs"]
        except DatasetError:
            study = None
    return {**duplicates, "leaking_pairs_under_study_split": study}
