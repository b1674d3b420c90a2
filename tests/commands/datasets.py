"""Datasets that differ from one another, one made of arrays, and scores of a known strength."""

import json
import shutil

import numpy as np
import pandas as pd
from scipy.special import expit

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


def predictions(labels, strength, seed):
    """What a run logs of posters (n,) whose labels it sees with this strength, 0 for not at all."""
    noise = np.random.default_rng(seed).normal(size=len(labels))
    ids = [f"tt{number:04d}" for number in range(len(labels))]
    probability = expit(strength * (labels - 0.5) + noise)
    return pd.DataFrame({"movie_id": ids, "label": labels.astype(int), "probability": probability})


HEADER = (
    "movie_id,title,year,genres,label,tomatometer_rating,split,duplicate_group,sha256,width,height,row,"
    "file_bytes,format,perceptual_hash"
)


def write_dataset(folder, images, splits, labels):
    """A prepared dataset of given posters (N, S, S, 3), each with its split and label; returns its folder."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", images)
    rows = [
        f"tt{n},A,2000,Drama,{labels[n]},50,{split},{n},{n:064x},182,{260 + n % 9},{n},"
        f"{20000 + 37 * (n % 101)},JPEG,{n:016x}"
        for n, split in enumerate(splits)
    ]
    (folder / "index.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "rejected.csv").write_text("row,movie_id,reason\n")
    manifest = {"format_version": 1, "fingerprint": "f" * 64, "shape": list(images.shape)}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"options": {"fit": "squash"}}))
    return folder
