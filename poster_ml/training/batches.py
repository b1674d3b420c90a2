"""From a memory-mapped array to batches: one copy per batch, an order per seed and epoch."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from poster_ml import seeding
from poster_ml.progress import progress
from poster_ml.training.devices import device_count, process_share

# Mapped pages are given back after so much was read. A system with large pages maps up to 2 MiB around each
# poster of 150 KB, so what is mapped can be a dozen times as much.
RELEASE_BYTES = 2**24


@dataclass(frozen=True)
class Samples:
    """What a network is fitted on or scored on.

    Args:
        images: array-like (N, ...), usually a memory map; posters (H, W, 3) uint8 or features (floats).
        rows: (n,) int positions in `images`.
        labels: (n,) 0 or 1.
        views: how many versions of every sample `images` holds one after another, each `stride` apart:
            version v of row r stands at v * stride + r.
        stride: rows between two versions; only read where views > 1.
    """

    images: Any
    rows: np.ndarray
    labels: np.ndarray
    views: int = 1
    stride: int = 0

    def __len__(self) -> int:
        """Number of samples, versions not counted."""
        return len(self.rows)


class Batches(keras.utils.PyDataset):
    """Batches (B, ...) of one `Samples`; shuffled anew for every epoch when `seed` is given.

    The order depends on (seed, epoch) alone, so a resumed run sees the batches it would have seen. Where a
    batch is split over several devices, a shuffled epoch leaves out the few posters that cannot be. Each of
    several processes reads its own share of a shuffled batch, and the others whole.
    """

    def __init__(self, samples: Samples, batch_size: int, seed: int | None = None) -> None:
        """Starts at epoch 0; `seed=None` keeps the order of the rows."""
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self._unreleased = 0
        self.set_epoch(0)

    def __len__(self) -> int:
        """Number of batches; the last one may be smaller."""
        return math.ceil(len(self._order) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns this process's share (B, ...) with labels (B, 1) float32; it is the only copy made."""
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        rows = self.samples.rows[chosen] + self._view[chosen] * self.samples.stride
        if self.seed is not None:
            # Reading a memory map in rising order keeps the disk's head, or its page cache, going forward.
            ascending = np.argsort(rows, kind="stable")
            process, processes = process_share()
            share = np.split(ascending, processes)[process]
            rows, chosen = rows[share], chosen[share]
        images = np.asarray(self.samples.images[rows])
        self._release(images.nbytes)
        labels = self.samples.labels[chosen].astype("float32")
        return images, labels[:, None]

    def _release(self, count: int) -> None:
        """Unmaps pages now and then: the process stays small, the system's page cache keeps them."""
        self._unreleased += count
        if self._unreleased >= RELEASE_BYTES:
            release_pages(self.samples.images)
            self._unreleased = 0

    def set_epoch(self, epoch: int) -> None:
        """Lays down the order, and the version of every sample, for one epoch."""
        count = len(self.samples)
        self._order = np.arange(count)
        self._view = np.zeros(count, dtype=np.int64)
        if self.seed is not None:
            numbers = seeding.generator(self.seed, "order", epoch)
            self._order = numbers.permutation(count)[: count - count % device_count()]
            self._view = numbers.integers(0, self.samples.views, size=count)


def predict_logits(model: Any, samples: Samples, batch_size: int = 64) -> np.ndarray:
    """Scores samples in inference mode, in their order.

    Args:
        model: Keras model with one logit (B, 1).
        samples: any number >= 1.
        batch_size: posters per forward pass, at least 1.

    Returns: (n,) float64 logits.
    """
    batches = Batches(samples, batch_size)
    logits = [
        predict_padded(model, images, batch_size if len(samples) > batch_size else len(images))
        for images, _ in progress(iterate(batches), "scoring batches", total=len(batches), brief=True)
    ]
    return np.concatenate(logits)[:, 0].astype("float64")


def predict_padded(model: Any, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Runs one batch; a short one is filled up, so that nothing is traced or compiled for its length.

    Args:
        model: Keras model with one output (B, ...), run in inference mode.
        images: (n, ...) with 1 <= n <= batch_size.
        batch_size: what the model always gets, or the next multiple of the devices in use.

    Returns: (n, ...) in the type that the model computes.
    """
    count, devices = len(images), device_count()
    filled = math.ceil(batch_size / devices) * devices
    if count < filled:
        images = np.concatenate([images, np.repeat(images[-1:], filled - count, axis=0)])
    return np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(images)))[:count]


def release_pages(images: Any) -> None:
    """Gives a memory map's pages back to the system; does nothing for other arrays.

    Pages of a mapped file count as the process's own while they are mapped: without this, training on 16,000
    posters would look 2.4 GB larger than on 100. They are read again from the page cache, or from disk.
    """
    mapping = getattr(images, "_mmap", None)
    # A copy-on-write map would lose its changes.
    if mapping is not None and getattr(images, "mode", "") in ("r", "r+"):
        mapping.madvise(mmap.MADV_DONTNEED)


def iterate(batches: Batches) -> Any:
    """Yields every batch once, in order."""
    for index in range(len(batches)):
        yield batches[index]
