"""Floating-point operations of the demo's VGG-16, when all its layers were trained and as its head is now.

    python -m benchmarks.demo

Counts two operations for each multiplication with addition of the convolutions and dense layers. A training
step counts as three forward passes: one forward, one for the gradients of the outputs, one for
those of the weights. Explanation and evaluation are the same before and after and are left out.
"""

from __future__ import annotations

import math

import keras

from poster_ml.config import experiment_path, load_experiment
from poster_ml.pipeline import task
from poster_ml.pipeline.fit import build_network

TRAINING, VALIDATION = 640, 160  # posters of the demo's splits
EPOCHS_BEFORE = 4  # of the demo when it trained all layers


def operations(network: keras.Model) -> float:
    """Operations of one forward pass of one poster, in units of 10^9."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += 2 * height * width * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
    return total / 1e9


def main() -> None:
    """Prints both counts and their ratio."""
    config = task.demo_config(load_experiment(experiment_path("vgg16")), set())
    forward = operations(build_network(config, task.DEMO_SIZE, weights="none"))
    before = forward * EPOCHS_BEFORE * (3 * TRAINING + VALIDATION)
    after = forward * (
        TRAINING + VALIDATION
    )  # frozen: every poster passes once; the head's epochs are nothing
    print(f"one forward pass at {task.DEMO_SIZE} pixels: {forward:.2f} billion operations")
    print(f"all layers trained, {EPOCHS_BEFORE} epochs: {before / 1000:.1f} trillion")
    print(f"frozen, head trained:     {after / 1000:.1f} trillion, {before / after:.1f} times fewer")


if __name__ == "__main__":
    main()
