"""What a GPU makes of the engine, in one script: images/s, shares of the peak, and the whole suite.

Command: KERAS_BACKEND=jax python benchmarks/gpu.py [--size 224] [--batch 128] [--steps 8] [--rounds 3]
         [--data DIR] [--suite "--protocol sound --set model.weights=none"]

Random weights, noise for posters. Prints the augmentation against Keras' own layers, the frozen layers with
the cache that they are written to, the forward pass and a fine-tuning step of VGG-16 (blocks 4 and 5) against
plain Keras, and their share of a 4096 x 4096 matrix product in the same precision; with --data, a prepared
dataset, also the seconds of `poster-ml suite` with the options of --suite. Works on a CPU too.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _measure import alternate, machine, noise_dataset, parse_options, print_seconds
from augmentation import chain, compiled, one_pass
from finetuning import engine, operations, plain_keras, products

from poster_ml.config import REPOSITORY, load_experiment, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.models.freezing import frozen_cut, split_at
from poster_ml.pipeline.fit import build_network
from poster_ml.training.batches import Samples
from poster_ml.training.features import cached_features
from poster_ml.training.precision import precision_scope, resolve_precision


def augmentation(images: np.ndarray, rounds: int) -> None:
    """Prints one pass over a batch against the chain of Keras' own layers, which need TensorFlow."""
    ways = {"augmentation, one pass": one_pass, "the chain of Keras' layers": chain}
    if importlib.util.find_spec("tensorflow") is None:
        del ways["the chain of Keras' layers"]
    steps = {name: compiled(build(images.shape[1])) for name, build in ways.items()}
    waited = {
        name: lambda step=step: keras.ops.convert_to_numpy(step(images)) for name, step in steps.items()
    }
    print_seconds(alternate(waited, rounds), len(images), "augmentation, one pass")


def features(dataset: PreparedDataset, samples: Samples) -> None:
    """Prints how fast the frozen VGG-16 of `vgg16_features` fills the cache; the second time counts."""
    config = load_experiment(REPOSITORY / "experiments" / "vgg16_features.yaml")
    with precision_scope(resolve_precision(config.train.precision)):
        network = build_network(replace(config, **{"model.weights": "none"}), dataset.size, weights="none")
    cut = frozen_cut(network)
    assert cut is not None
    prefix, _ = split_at(network, cut)
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            cached_features(prefix, samples, about={}, folder=Path(folder))
            seconds = time.perf_counter() - start
    print(f"{'features, written to the cache':<34} {len(samples) / seconds:9.2f} images/s")


def suite(data: str, options: str) -> None:
    """Prints the seconds of a suite on a prepared dataset, in a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{Path(folder) / 'mlflow.db'}",
            "POSTER_ML_CACHE": str(Path(folder) / "cache"),
        }
        command = [sys.executable, "-m", "poster_ml", "suite", "--data", data, "--out", f"{folder}/suite"]
        start = time.perf_counter()
        subprocess.run([*command, *shlex.split(options)], env=environment, check=True)
    count = len(PreparedDataset.open(Path(data)).index)
    print(f"suite on {count} posters: {time.perf_counter() - start:.0f} s")


def main() -> None:
    options = parse_options(
        __doc__, size=224, batch=128, steps=8, rounds=3, data="", suite="--protocol sound"
    )
    count, rows = options.batch * options.steps, np.arange(options.batch * options.steps)
    print(f"{keras.backend.backend()}, {keras.distribution.list_devices()}; {machine()}")
    with tempfile.TemporaryDirectory() as temporary:
        dataset = noise_dataset(Path(temporary), count, options.size)
        images, labels = np.array(dataset.images), dataset.labels(rows)
        samples = Samples(dataset.images, rows, labels)
        augmentation(images[: options.batch], options.rounds)
        features(dataset, samples)
        train, forward, precision = engine(samples, options.size, options.batch)
        plain = plain_keras(images, labels, options.batch)
        ours, theirs = f"fine-tuning step, {precision}", "the same in plain Keras, float32"
        peak_ways = products(precision, with_torch=False)
        seconds = alternate({ours: train, theirs: plain, "forward": forward, **peak_ways}, options.rounds)
    print_seconds({name: seconds[name] for name in (ours, theirs)}, count, ours)
    print(f"{'forward pass, ' + precision:<34} {options.batch / seconds['forward']:9.2f} images/s")
    peak = max(2 * 4096.0**3 / seconds[name] for name in peak_ways)
    per_forward, per_step = operations(options.size)
    speeds = {
        "forward": per_forward * options.batch / seconds["forward"],
        "step": per_step * count / seconds[ours],
    }
    for name, speed in speeds.items():
        print(f"{name:<34} {speed / 1e12:9.2f} Tflop/s  {speed / peak:6.1%} of the peak ({peak / 1e12:.1f})")
    if options.data:
        suite(options.data, options.suite)


if __name__ == "__main__":
    main()
