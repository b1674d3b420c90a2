"""Several devices, of one process or of several: every batch split among them, by `keras.distribution`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from poster_ml.errors import ClusterError

logger = logging.getLogger(__name__)

ADDRESSES, PROCESSES, PROCESS = (
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)


def join_processes() -> int:
    """Joins the processes that train together, as Keras' variables say; before anything looks for devices.

    Returns: the number of this process; 0 is the one that keeps and logs.
    Raises: ClusterError where the backend is not JAX, or the processes do not find each other.
    """
    if keras.backend.backend() != "jax":
        backend = keras.backend.backend()
        raise ClusterError(f"{PROCESSES} is for JAX, not for {backend}: set KERAS_BACKEND=jax, or unset it")
    try:
        keras.distribution.initialize()
    except (RuntimeError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ClusterError(
            f"the processes did not find each other ({reason}): set {ADDRESSES}=HOST:PORT of process 0, "
            f"{PROCESSES} and {PROCESS}=0, 1, ... in each"
        ) from error
    return process_share()[0]


def process_share() -> tuple[int, int]:
    """Returns the number of this process, from 0, and how many train together; (0, 1) without others."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return (jax.process_index(), jax.process_count()) if jax.distributed.is_initialized() else (0, 1)


def of_all_processes(numbers: np.ndarray) -> np.ndarray:
    """Returns what each process gave, (processes, *shape); floats become float32 where there are several."""
    if process_share()[1] == 1:
        return numbers[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(numbers))


@contextmanager
def shared_batches(batch_size: int) -> Iterator[int]:
    """Splits batches over all accelerators of the JAX backend while a network is built and trained.

    Weights are copied to every device, gradients are averaged: the numbers are those of one device up to
    rounding. Does nothing on other backends and with one device. Other processes that were joined are left
    when the block ends well.

    Args:
        batch_size: of training, in posters; divisible by the number of devices, or one device is used.

    Yields: the number of devices in use.
    Raises: ClusterError where the batches cannot be split over several processes.
    """
    devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    count, (_, processes) = len(devices), process_share()
    if count > 1 and batch_size % count:
        said = f"batches of {batch_size} posters cannot be split evenly over {count} devices"
        remedy = f"set train.batch_size to a multiple of {count}"
        if processes > 1:
            raise ClusterError(f"{said} of {processes} processes: {remedy}")
        logger.warning(f"{said}: one is used; {remedy}")
        count = 1
    if count <= 1:
        yield 1
        return
    logger.info(f"every batch is split over {count} devices")
    before = keras.distribution.distribution()
    # `Batches` reads each process's own share: nothing is left to shard.
    spread = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    keras.distribution.set_distribution(spread)
    try:
        yield count
    finally:
        keras.distribution.set_distribution(before)
    if processes > 1:
        import jax

        jax.distributed.shutdown()


def device_count() -> int:
    """Returns over how many devices a batch is split now; batches must be a multiple of it."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else int(distribution.device_mesh.devices.size)
