"""What `train.precision: auto` takes, against the other choice: every family, forward and training step.

Command: python benchmarks/precision.py [--size 224] [--batch 32] [--rounds 3] [--family NAME ...]

Each network as its file under `experiments/` has it, random weights, no augmentation, the topmost
16 convolutions trained; float32 and mixed_bfloat16 take turns, the median round counts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _measure import alternate, machine

from poster_ml.config import REPOSITORY, load_experiment, replace
from poster_ml.models.catalogue import find_family
from poster_ml.pipeline.fit import build_network
from poster_ml.training.batches import Batches, Samples
from poster_ml.training.fit import compile_model
from poster_ml.training.precision import precision_scope, resolve_precision

VARIANTS = {
    "cnn": "basic_cnn",
    "vgg16": "vgg16",
    "inception_v3": "inception_v3",
    "inception_resnet_v2": "inception_resnet_v2",
    "mobilenet_v2": "mobilenet_v2",
}
POLICIES = ("float32", "mixed_bfloat16")


def ways(family: str, precision: str, images: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Returns a forward pass and a training step of one batch."""
    config = load_experiment(REPOSITORY / "experiments" / f"{VARIANTS[family]}.yaml")
    settings = {"model.weights": "none", "augment.strength": 0.0, "train.learning_rate": 1e-6}
    if find_family(family).has_backbone:
        settings["model.unfreeze"] = 16 if family != "vgg16" else 6
    config = replace(config, **settings)
    with precision_scope(precision):
        network = build_network(config, images.shape[1], weights="none")
    samples = Samples(images, np.arange(len(images)), np.arange(len(images)) % 2)
    batches = Batches(samples, len(images), seed=0)
    compile_model(network, config.train, 1, 1)
    return (
        lambda: network.predict_on_batch(images),
        lambda: network.fit(batches, epochs=1, shuffle=False, verbose=0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--family", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    options = parser.parse_args()
    print(machine())
    shape = (options.batch, options.size, options.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for family in options.family:
        auto = resolve_precision("auto", depthwise=find_family(family).depthwise)
        pairs = {policy: ways(family, policy, images) for policy in POLICIES}
        seconds = alternate(
            {
                f"{policy} {what}": pairs[policy][number]
                for number, what in enumerate(("forward", "step"))
                for policy in POLICIES
            },
            options.rounds,
        )
        for what in ("forward", "step"):
            plain, mixed = (seconds[f"{policy} {what}"] for policy in POLICIES)
            gain = plain / mixed if auto == "mixed_bfloat16" else mixed / plain
            print(
                f"{family:<20} {what:<8} float32 {options.batch / plain:7.1f}, bfloat16 "
                f"{options.batch / mixed:7.1f} images/s   auto takes {auto}: {gain:5.2f}x the other",
                flush=True,
            )


if __name__ == "__main__":
    main()
