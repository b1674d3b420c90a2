"""Seeds: one number in, independent and repeatable streams out."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *path: str | int) -> int:
    """Derives an independent seed for one purpose.

    Args:
        seed: the run's seed, an int >= 0; 0 is a seed like any other.
        path: what the seed is for, for example ("shuffle", epoch).

    Returns: an int in [0, 2**31 - 1), the same on every machine and Python version.
    """
    text = "/".join(str(part) for part in (seed, *path))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - 1)


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """Returns a NumPy generator for one purpose; arguments as for `derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *path))
