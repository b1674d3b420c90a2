"""Several devices: every batch split among them, by `keras.distribution`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import keras

logger = logging.getLogger(__name__)


@contextmanager
def shared_batches(batch_size: int) -> Iterator[int]:
    """Splits batches over all accelerators of the JAX backend while a network is built and trained.

    Weights are copied to every device, gradients are averaged: the numbers are those of one device up to
    rounding. Does nothing on other backends and with one device.

    Args:
        batch_size: of training, in posters; divisible by the number of devices, or one device is used.

    Yields: the number of devices in use.
    """
    devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    count = len(devices)
    if count > 1 and batch_size % count:
        logger.warning(
            f"batches of {batch_size} posters cannot be split evenly over {count} devices: one is used; "
            f"set train.batch_size to a multiple of {count}"
        )
        count = 1
    if count <= 1:
        yield 1
        return
    logger.info(f"every batch is split over {count} devices")
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    try:
        yield count
    finally:
        keras.distribution.set_distribution(before)


def device_count() -> int:
    """Returns over how many devices a batch is split now; batches must be a multiple of it."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else int(distribution.device_mesh.devices.size)
