"""The prepared dataset, written: posters decoded, grouped, split, and saved whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from poster_ml import __version__
from poster_ml.data.decoding import Result, prepare_posters
from poster_ml.data.duplicates import PRINT_LENGTH, duplicate_table, find_groups, leakage_summary
from poster_ml.data.images import Pixels
from poster_ml.data.reading import FORMAT_VERSION, PREPARED, PreparedDataset
from poster_ml.data.splits import FRACTIONS, SPLITS, assign_splits
from poster_ml.errors import DatasetError
from poster_ml.files import atomic_folder, check_output_folder
from poster_ml.progress import progress
from poster_ml.seeding import generator

if TYPE_CHECKING:
    from poster_ml.cluster import Client

__all__ = ["PreparedDataset", "prepare"]

INDEX_COLUMNS = (
    "movie_id", "title", "year", "genres", "label", "tomatometer_rating", "split", "duplicate_group",
    "sha256", "width", "height", "row", "file_bytes", "format", "perceptual_hash",
)  # fmt: skip


def check_target(out: Path, **inputs: Path) -> None:
    """Refuses to replace what is no prepared dataset, or holds an input (named like its option).

    Raises: OutputError as `files.check_output_folder`; DatasetError naming the input.
    """
    check_output_folder(out, PREPARED)
    for name, path in inputs.items():
        if path.resolve().is_relative_to(out.resolve()):
            raise DatasetError(
                f"--{name} {path} lies in --out {out}, which would be replaced; give another --out"
            )


def prepare(
    table: pd.DataFrame,
    rejected: pd.DataFrame,
    out: Path,
    *,
    size: int = 224,
    fit: str = "squash",
    split: str = "grouped",
    seed: int = 42,
    limit: int = 0,
    workers: int | Client | None = None,
    source: dict[str, Any] | None = None,
) -> PreparedDataset:
    """Writes a prepared dataset and opens it. `out` holds the old one until the new one is whole.

    Args:
        table: one row per movie: movie_id, title, year, genres (`|` between them), label (0/1),
            tomatometer_rating, image (path; rows with "" are left out); `row`, its 1-based number in the
            input, where rows were dropped before, else counted here.
        rejected: rows dropped before: row, movie_id, reason.
        out: the folder of the dataset.
        size: side of the pictures in pixels, at least 16.
        fit: "squash", "pad" or "crop", see `images.decode_poster`.
        split: "grouped", "stratified" or "study"; with `seed` as for `splits.assign_splits`.
        limit: use at most so many posters, 0 for all: the study split takes the first rows, as the study did,
            the others draw rows at random (tables are often sorted by year), keeping their order.
        workers: threads, None for every core, or a cluster's client. The bytes written do not depend on it.
        source: where the table and posters are from, for the manifest.

    Raises: DatasetError where no dataset can be made of it; OutputError where `out` holds other files; the
        old one stays.
    """
    rows = table[table["image"] != ""].reset_index(drop=True).assign(reason="")
    if "row" not in rows.columns:
        rows["row"] = np.arange(1, len(rows) + 1)
    if 0 < limit < len(rows):
        chosen = np.arange(limit)
        if split != "study":
            chosen = generator(seed, "limit").choice(len(rows), limit, replace=False)
        rows.loc[np.delete(rows.index, chosen), "reason"] = f"left out: --limit {limit}"

    with atomic_folder(out, PREPARED) as folder:
        files = [Path(image) for image in rows.loc[rows["reason"] == "", "image"]]
        posters = prepare_posters(files, size, fit, workers)
        index, prints, digest = _write_images(rows, folder / "images.npy", size, posters)
        parts = [part[["row", "movie_id", "reason"]] for part in (rejected, rows[rows["reason"] != ""])]
        dropped = pd.concat([part for part in parts if len(part)] or parts)
        dropped = dropped.sort_values("row", kind="stable", ignore_index=True)
        reasons = dropped["reason"].str.split(":").str[0].value_counts().to_dict()
        _check_enough(index, len(dropped), reasons)
        hashes = np.array([int(value, 16) for value in index["perceptual_hash"]], np.uint64)
        index["duplicate_group"] = find_groups(hashes, prints, list(index["sha256"]))
        index = assign_splits(index, split, seed=seed)[list(INDEX_COLUMNS)]
        index_bytes = index.to_csv(index=False, lineterminator="\n").encode()
        (folder / "index.csv").write_bytes(index_bytes)
        digest.update(index_bytes)
        dropped.to_csv(folder / "rejected.csv", index=False, lineterminator="\n")
        duplicate_table(index).to_csv(folder / "duplicates.csv", index=False, lineterminator="\n")
        shares = None if split == "study" else FRACTIONS
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
            "duplicates": leakage_summary(index),
            "fingerprint": digest.hexdigest(),
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return PreparedDataset.open(out)


def _write_images(
    rows: pd.DataFrame, path: Path, size: int, posters: Iterator[Result]
) -> tuple[pd.DataFrame, Pixels, hashlib._Hash]:
    """Writes the posters of all rows without a reason into `path`; who cannot be decoded gets a reason.

    The file is written as a stream, its length put in at the end: pages of a memory map that were written to
    count as the process's memory until the system takes them back, 2.4 GB at 16,000 posters.

    Returns: the accepted rows with what was read from the files, their colour prints (N, 768), the running
        digest of the pixels.
    """
    digest = hashlib.sha256()
    facts: dict[int, dict[str, str | int]] = {}
    wanted = rows[rows["reason"] == ""]
    prints = np.empty((len(wanted), PRINT_LENGTH), np.uint8)
    posters = progress(posters, "decoding posters", total=len(wanted))
    with path.open("wb") as file:
        _write_header(file, 0, size)
        for row, poster in zip(wanted.index, posters, strict=True):
            if isinstance(poster, str):
                rows.loc[row, "reason"] = poster
                continue
            file.write(poster.pixels.data)
            digest.update(poster.pixels.data)
            prints[len(facts)] = poster.colour_print
            facts[row] = poster.facts
        file.seek(0)
        _write_header(file, len(facts), size)
    index = rows.loc[list(facts)].join(pd.DataFrame.from_dict(facts, orient="index")).reset_index(drop=True)
    index[["title", "genres"]] = index[["title", "genres"]].fillna("").astype(str)
    index = index.astype({"year": "Int64", "label": np.int64, "tomatometer_rating": np.float64})
    return index, prints[: len(index)], digest


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    """Writes the header of a `.npy` file; NumPy pads it so that the length does not depend on `count`."""
    shape = (count, size, size, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _check_enough(index: pd.DataFrame, dropped: int, reasons: Mapping[Any, int]) -> None:
    """Refuses a dataset of which nothing can be learned, and says what became of the rows."""
    if index["label"].nunique() == 2:
        return
    found = "all of them Fresh or all of them Rotten" if len(index) else "none"
    why = "".join(f", {count} x {kind}" for kind, count in reasons.items())
    raise DatasetError(
        f"of {len(index) + dropped} rows {len(index)} have a poster that can be used, {found}{why}; check "
        "--table, --posters and the label: name its column with --column label=NAME, or the score from which "
        "a movie is Fresh with --score-threshold"
    )


def _balance(labels: pd.Series) -> dict[str, float]:
    fresh = int(labels.sum())
    return {
        "posters": len(labels),
        "fresh": fresh,
        "rotten": len(labels) - fresh,
        "fresh_share": round(fresh / len(labels), 6),
    }
