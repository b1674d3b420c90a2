"""The frozen prefix of a network, run once: features kept memory-mapped under a key of all they depend on.

A cache entry is a folder `<key>/` with `features.npy` and `entry.json` (what it is, its length and
checksum). While it is computed it stands in `<key>.partial/`; a kill loses the chunk in hand, and
the next call continues from there. Processes that want the same entry wait for the one that
computes it. Opening an entry reads it once for its checksum: a second per gigabyte or two, and
training needs it in the page cache anyway.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
from filelock import FileLock

from poster_ml.files import atomic_path
from poster_ml.progress import progress_bar
from poster_ml.training.batches import Samples, predict_padded, release_pages
from poster_ml.training.code_version import code_digest

logger = logging.getLogger(__name__)

CHUNK = 128  # posters per stored step; what a kill can lose
BATCH = 64  # posters per forward pass
# What the cache's folder holds of ours; `explain.boxes` keeps the boxes on posters there.
_ENTRY_NAME = re.compile(r"[0-9a-f]{24}(\.partial)?|boxes-[0-9a-f]{16}")
_ENTRY_FILES = re.compile(r"features\.npy|entry\.json|done\.json|\w+\.jsonl|\.\w+\.json\.[0-9a-f]{8}\.tmp")

Augment = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache, as listed by `list_entries`."""

    key: str
    about: dict[str, Any]
    megabytes: float


def cached_features(
    prefix: Any,
    samples: Samples,
    *,
    about: dict[str, Any],
    folder: Path,
    augment: Augment | None = None,
    views: int = 1,
) -> np.ndarray | None:
    """Runs the frozen part of a network over samples, or finds that it has been done.

    Args:
        prefix: Keras model from posters to features; its weights are part of the key.
        samples: posters (n, H, W, 3) uint8.
        about: what the features depend on besides prefix, rows, backend and code: dataset fingerprint,
            precision, seed.
        folder: of the cache.
        augment: (batch uint8, first position) -> batch; None leaves the posters as they are.
        views: how many augmented versions are kept, at least 1.

    Returns: read-only memory map (views * n, ...) in the type that the prefix computes (float32, bfloat16 or
        float16: nothing is lost, and half of the disk is saved); version v of sample i stands at v * n + i.
        None, which is said, where it would take more than half of the free disk.
    """
    dtype = keras.backend.standardize_dtype(prefix.output.dtype)
    rows = np.ascontiguousarray(samples.rows, dtype="<i8").tobytes()
    key = {
        **about,
        "backend": keras.backend.backend(),
        "code": code_digest("models", "augment"),
        "prefix": digest(prefix, augmented=augment is not None),
        "rows": hashlib.sha256(rows).hexdigest()[:24],
        "views": views,
        "dtype": dtype,
    }
    place = folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{place.name}.lock"):  # taken back when the process dies
        if not _is_whole(place):
            shutil.rmtree(place, ignore_errors=True)
            partial = place.with_name(place.name + ".partial")
            shape = (views * len(samples), *prefix.output.shape[1:])
            # NumPy's file format has no bfloat16: its bits are kept as they are.
            opened = _open_partial(partial, shape, "uint16" if dtype == "bfloat16" else dtype)
            if opened is None:
                return None
            _compute(prefix, samples, augment, partial, *opened)
            entry = {**key, "shape": list(shape), "checksum": _checksum(opened[0])}
            (partial / "entry.json").write_text(json.dumps(entry, indent=1))
            partial.rename(place)
        features = np.load(place / "features.npy", mmap_mode="r")
    return features.view(ml_dtypes.bfloat16) if dtype == "bfloat16" else features


def list_entries(folder: Path) -> list[CacheEntry]:
    """Lists the entries of a cache, the largest first; unfinished ones are marked in `about`.

    The folder may hold other things too: what is not an entry by its name and its files is left out.
    """
    entries = []
    for place in sorted(folder.glob("*")):
        if not _ENTRY_NAME.fullmatch(place.name) or place.is_symlink() or not place.is_dir():
            continue
        file = place / "entry.json"
        try:
            inside = list(place.iterdir())
            if not all(_ENTRY_FILES.fullmatch(inner.name) for inner in inside):
                continue
            size = sum(inner.stat().st_size for inner in inside) / 1e6
            about = json.loads(file.read_text()) if file.is_file() else {"unfinished": True}
        except (OSError, ValueError):
            continue  # another process finishes or removes it at this moment
        entries.append(CacheEntry(place.name, about, size))
    return sorted(entries, key=lambda entry: -entry.megabytes)


def clear_entries(folder: Path) -> float:
    """Removes all entries and returns the megabytes that became free."""
    entries = list_entries(folder)
    for entry in entries:
        with FileLock(folder / f".{entry.key.removesuffix('.partial')}.lock"):
            shutil.rmtree(folder / entry.key, ignore_errors=True)
    return sum(entry.megabytes for entry in entries)


def digest(model: Any, augmented: bool = True) -> str:
    """Digest of a network's structure and weights; equal networks give equal digests.

    Args:
        model: Keras model.
        augmented: False leaves out random layers, which do nothing to posters that are not augmented:
            trials that differ in augmentation share the features of the posters as they are.
    """
    fingerprint = hashlib.sha256()
    for layer in model.layers:
        if not augmented and hasattr(layer, "seed_generator"):
            continue
        # Names are numbered by what was built before in the process; seeds and what initial weights were
        # drawn from do not change a frozen layer, whose weights are digested as they are.
        config = layer.get_config()
        for key in [key for key in config if key in ("name", "seed") or key.endswith("_initializer")]:
            del config[key]
        fingerprint.update(json.dumps(config, sort_keys=True, default=str).encode())
        for variable in layer.weights:
            fingerprint.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return fingerprint.hexdigest()[:24]


def _is_whole(place: Path) -> bool:
    """Checks length and checksum of an entry; one that fails is computed again."""
    try:
        about = json.loads((place / "entry.json").read_text())
        features = np.load(place / "features.npy", mmap_mode="r")
        return bool(list(features.shape) == about["shape"] and _checksum(features) == about["checksum"])
    except (OSError, ValueError, KeyError):
        return False


def _checksum(features: np.ndarray) -> int:
    value = 0
    for start in range(0, len(features), CHUNK):
        value = zlib.crc32(np.ascontiguousarray(features[start : start + CHUNK]).data, value)
    release_pages(features)
    return value


def _open_partial(partial: Path, shape: tuple[int, ...], dtype: str) -> tuple[np.memmap, int] | None:
    """Opens what an earlier process left unfinished, or reserves a new file; returns it and the rows done.

    None where the features would take more than half of the free disk.
    """
    try:
        done = json.loads((partial / "done.json").read_text())
        if done["shape"] == list(shape):
            return np.load(partial / "features.npy", mmap_mode="r+"), int(done["done"])
    except (OSError, ValueError, KeyError):
        pass
    shutil.rmtree(partial, ignore_errors=True)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(partial.parent).free
    try:
        if size > free / 2:
            raise OSError("more than half of what is free")
        partial.mkdir()
        file = partial / "features.npy"
        features = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        # A full disk must be an error here: while a map is written to, it would be a deadly signal (SIGBUS).
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        logger.warning(
            f"frozen features would take {size / 1e9:.1f} GB of {free / 1e9:.1f} GB free in {partial.parent} "
            f"({error.args[-1]}): not kept, the frozen layers run in every epoch"
        )
        return None
    return features, 0


def _compute(
    prefix: Any, samples: Samples, augment: Augment | None, partial: Path, features: np.memmap, done: int
) -> None:
    """Fills `features` from row `done` on, noting in `partial` after every chunk how far it is."""
    total = len(features)
    with progress_bar(total, "running the frozen layers on posters", initial=done) as bar:
        for start in range(done, total, CHUNK):
            end = min(start + CHUNK, total)
            for low in range(start, end, BATCH):
                high = min(low + BATCH, end)
                batch = np.asarray(samples.images[samples.rows[np.arange(low, high) % len(samples)]])
                batch = augment(batch, low) if augment is not None else batch
                output = predict_padded(prefix, batch, min(BATCH, total))
                features[low:high] = output.view(features.dtype)
                bar.update(high - low)
            features.flush()
            release_pages(features)
            release_pages(samples.images)
            with atomic_path(partial / "done.json") as temporary:
                temporary.write_text(json.dumps({"done": end, "shape": list(features.shape)}))
