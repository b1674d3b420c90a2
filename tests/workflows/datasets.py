"""Datasets that differ from one another."""

from __future__ import annotations

import json
import shutil

import numpy as np

from poster_ml.data.reading import pixel_digest


def changed_copy(dataset, target):
    """A copy of a dataset with one pixel changed and a fingerprint that fits."""
    shutil.copytree(dataset, target)
    images = np.lib.format.open_memmap(target / "images.npy", mode="r+")
    images[0, 0, 0, 0] ^= 1
    images.flush()
    digest = pixel_digest(target / "images.npy")
    digest.update((target / "index.csv").read_bytes())
    manifest = json.loads((target / "manifest.json").read_text())
    (target / "manifest.json").write_text(json.dumps(manifest | {"fingerprint": digest.hexdigest()}))
    return target
