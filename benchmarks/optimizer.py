"""One training step of a small network: the update of the weights in one pass, against Keras' own.

Command: python benchmarks/optimizer.py [--model basic_cnn] [--size 224] [--steps 4] [--rounds 3]

The network and optimiser as `experiments/` has them (random weights, no augmentation), precision as `auto`
takes it; the two take turns, the median round counts. Then the weights after the same steps, compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _measure import alternate, machine, parse_options, print_seconds

from poster_ml.config import REPOSITORY, load_experiment, replace
from poster_ml.pipeline.fit import build_network
from poster_ml.training import optimizers
from poster_ml.training.batches import Batches, Samples
from poster_ml.training.fit import compile_model
from poster_ml.training.precision import precision_scope, resolve_precision

BATCH = 32


def build(model: str, images: np.ndarray, kind: Callable[[type], type]) -> tuple[Any, Callable[[], Any]]:
    """Returns a network whose optimiser is made of `kind`, and an epoch of its training."""
    path = REPOSITORY / "experiments" / f"{model}.yaml"
    config = replace(load_experiment(path), **{"model.weights": "none", "augment.strength": 0.0})
    keras.utils.set_random_seed(0)
    with precision_scope(resolve_precision("auto")):
        network = build_network(config, images.shape[1], weights="none")
    samples = Samples(images, np.arange(len(images)), np.arange(len(images)) % 2)
    fused = optimizers._fused
    optimizers._fused = kind
    try:
        compile_model(network, config.train, len(images) // BATCH, 1)
    finally:
        optimizers._fused = fused
    batches = Batches(samples, BATCH, seed=0)
    return network, lambda: network.fit(batches, epochs=1, shuffle=False, verbose=0)


def main() -> None:
    options = parse_options(__doc__, model="basic_cnn", size=224, steps=4, rounds=3)
    print(machine())
    shape = (BATCH * options.steps, options.size, options.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    one_pass, one_pass_epoch = build(options.model, images, optimizers._fused)
    keras_own, keras_epoch = build(options.model, images, lambda kind: kind)
    seconds = alternate({"one pass": one_pass_epoch, "Keras": keras_epoch}, options.rounds)
    print_seconds(seconds, len(images), "one pass")
    apart = max(
        float(np.abs(keras.ops.convert_to_numpy(one) - keras.ops.convert_to_numpy(other)).max())
        for one, other in zip(one_pass.weights, keras_own.weights, strict=True)
    )
    print(f"weights after {options.steps * (options.rounds + 1)} steps: at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
