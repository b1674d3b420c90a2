"""Which arithmetic a machine does fast, and how to use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras


def resolve_precision(precision: str, *, depthwise: bool = False) -> str:
    """Turns `auto` into a Keras dtype policy.

    Args:
        precision: "auto", or a policy name, which is returned as it is.
        depthwise: the network lives on depthwise convolutions. Processors have bfloat16 for matrix
            products, which those are not: MobileNetV2 is 1.3 times as fast in float32 on one with
            avx512_bf16 (`benchmarks/precision.py`, docs/performance.md).

    Returns: "mixed_bfloat16" where the processor or the GPU computes the network faster in it,
        "float32" elsewhere.
    """
    if precision != "auto":
        return precision
    if not has_fast_bfloat16() or (depthwise and not has_gpu()):
        return "float32"
    return "mixed_bfloat16"


def has_gpu() -> bool:
    """Whether the backend computes on a GPU or TPU."""
    return _accelerator_has_bfloat16() is not None


def has_fast_bfloat16() -> bool:
    """Whether bfloat16 is computed in hardware: AVX512-BF16 or AMX on a CPU, Ampere or newer on a GPU."""
    accelerator = _accelerator_has_bfloat16()
    if accelerator is not None:
        return accelerator
    if keras.backend.backend() == "jax":
        return False  # XLA's CPU convolutions know no bfloat16 kernels
    return bool({"avx512_bf16", "amx_bf16"} & processor_flags())


def _accelerator_has_bfloat16() -> bool | None:
    """None where the backend computes on the processor."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return bool(torch.cuda.is_bf16_supported()) if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        if device.platform == "cpu":
            return None
        return device.platform != "gpu" or float(getattr(device, "compute_capability", 0.0)) >= 8.0
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        return bool(details.get("compute_capability", (0, 0)) >= (8, 0))
    return None


def processor_flags() -> set[str]:
    """Returns the processor's feature flags as Linux names them; empty where they can't be read."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    flags = re.search(r"^flags\s*:(.*)", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()


@contextmanager
def precision_scope(policy: str) -> Iterator[None]:
    """Builds networks under one dtype policy and puts the old one back."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
