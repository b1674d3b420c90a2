"""The frozen prefix of a network, run once: features kept memory-mapped under a key of all they depend on.

A cache entry is a folder `<key>/` with `features.npy` and `entry.json` (what it is, its length and
checksum). While it is computed it stands in `<key>.partial/`; a kill loses the chunk in hand, and the next
call goes on from there. Processes that want the same entry wait for the one that computes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from poster_ml.files import atomic_path
from poster_ml.progress import progress
from poster_ml.training.batches import Samples

CHUNK = 128  # posters per stored step; what a kill can lose


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
    batch_size: int = 64,
    augment: Any = None,
    views: int = 1,
) -> np.ndarray:
    """Runs the frozen part of a network over samples, or finds that it has been done.

    Args:
        prefix: Keras model from posters to features; its weights are part of the key.
        samples: posters (n, H, W, 3) uint8.
        about: what the features depend on besides prefix and rows: dataset fingerprint, precision, seed.
        folder: of the cache.
        batch_size: posters per forward pass.
        augment: (batch uint8, first position) -> batch; None leaves the posters as they are.
        views: how many augmented versions are kept, at least 1.

    Returns: read-only memory map (views * n, ...) float32; version v of sample i stands at v * n + i.
    """
    about = {**about, "prefix": digest(prefix), "rows": _digest_rows(samples), "views": views}
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f".{key}.lock"):
        if not _is_whole(folder / key):
            _compute(prefix, samples, about, folder / key, batch_size, augment, views)
    return np.load(folder / key / "features.npy", mmap_mode="r")


def list_entries(folder: Path) -> list[CacheEntry]:
    """Lists the entries of a cache, the largest first; unfinished ones are marked in `about`."""
    entries = []
    for place in sorted(folder.glob("*")) if folder.is_dir() else []:
        if not place.is_dir():
            continue
        size = sum(file.stat().st_size for file in place.iterdir()) / 1e6
        file = place / "entry.json"
        about = json.loads(file.read_text()) if file.is_file() else {"unfinished": True}
        entries.append(CacheEntry(place.name, about, size))
    return sorted(entries, key=lambda entry: -entry.megabytes)


def clear_entries(folder: Path) -> float:
    """Removes all entries and returns the megabytes that became free."""
    entries = list_entries(folder)
    for entry in entries:
        with _lock(folder / f".{entry.key.removesuffix('.partial')}.lock"):
            shutil.rmtree(folder / entry.key)
    return sum(entry.megabytes for entry in entries)


def digest(model: Any) -> str:
    """Digest of a network's structure and weights; equal networks give equal digests."""
    fingerprint = hashlib.sha256()
    for layer in model.layers:
        # Names are numbered by what was built before in the process, seeds do not change a frozen layer.
        config = {key: value for key, value in layer.get_config().items() if key not in ("name", "seed")}
        fingerprint.update(json.dumps(config, sort_keys=True, default=str).encode())
        for variable in layer.weights:
            if "seed" not in variable.path:
                fingerprint.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return fingerprint.hexdigest()[:24]


def _digest_rows(samples: Samples) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples.rows, dtype="<i8").tobytes()).hexdigest()[:24]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds a lock that the operating system takes back when the process dies."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_whole(place: Path) -> bool:
    """Checks length and checksum; an entry that fails is removed and computed again."""
    try:
        about = json.loads((place / "entry.json").read_text())
        features = np.load(place / "features.npy", mmap_mode="r")
        whole = bool(list(features.shape) == about["shape"] and _checksum(features) == about["checksum"])
    except (OSError, ValueError, KeyError):
        whole = False
    if not whole:
        shutil.rmtree(place, ignore_errors=True)
    return whole


def _checksum(features: np.ndarray) -> int:
    value = 0
    for start in range(0, len(features), CHUNK):
        value = zlib.crc32(np.ascontiguousarray(features[start : start + CHUNK]).tobytes(), value)
    return value


def _compute(
    prefix: Any,
    samples: Samples,
    about: dict[str, Any],
    place: Path,
    batch_size: int,
    augment: Any,
    views: int,
) -> None:
    partial = place.with_name(place.name + ".partial")
    count = len(samples)
    shape = (views * count, *prefix.output.shape[1:])
    features, done = _open_partial(partial, shape)
    starts = range(done, views * count, CHUNK)
    for start in progress(starts, "running the frozen layers", total=len(starts)):
        end = min(start + CHUNK, views * count)
        for low in range(start, end, batch_size):
            high = min(low + batch_size, end)
            positions = np.arange(low, high)
            batch = np.asarray(samples.images[samples.rows[positions % count]])
            if augment is not None:
                batch = augment(batch, int(low))
            output = prefix.predict_on_batch(batch)
            features[low:high] = keras.ops.convert_to_numpy(output).astype("float32")
        features.flush()
        with atomic_path(partial / "done.json") as temporary:
            temporary.write_text(json.dumps({"done": end, "shape": list(shape)}))
    entry = {**about, "shape": list(shape), "checksum": _checksum(features)}
    (partial / "entry.json").write_text(json.dumps(entry, indent=1))
    partial.rename(place)


def _open_partial(partial: Path, shape: tuple[int, ...]) -> tuple[np.memmap, int]:
    """Opens what an earlier process left unfinished, or a new file; returns it and the rows done."""
    try:
        done = json.loads((partial / "done.json").read_text())
        if done["shape"] == list(shape):
            return np.load(partial / "features.npy", mmap_mode="r+"), int(done["done"])
    except (OSError, ValueError, KeyError):
        pass
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    file = partial / "features.npy"
    return np.lib.format.open_memmap(file, mode="w+", dtype="float32", shape=shape), 0
