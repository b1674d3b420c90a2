"""VGG-16 with blocks 4 and 5 trained, one step: this engine against plain Keras and PyTorch, and the peak.

Command: python benchmarks/finetuning.py [--size 224] [--batch 32] [--steps 2] [--rounds 3] [--torch]

  engine, auto      the network and optimiser of `experiments/vgg16.yaml` as `poster-ml train` sets them up
  plain Keras       keras.applications.VGG16 and the same head in float32, uint8 posters scaled in the
                    network, compiled and fitted as in the Keras guide on fine-tuning
  PyTorch           (--torch) the same network, channels_last, bfloat16 autocast, with and without
                    torch.compile; `pip install torch`
Augmentation is off in all, random weights, Adam. Ways take turns, the median round counts.
Then: which share of the peak (a 4096 x 4096 matrix product in the same precision, the faster of the
libraries that are there) the forward pass and the training step reach.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _measure import alternate, machine, noise_dataset, parse_options, print_seconds

from poster_ml.config import REPOSITORY, load_experiment, replace
from poster_ml.pipeline.fit import build_network
from poster_ml.training.batches import Batches, Samples
from poster_ml.training.fit import compile_model
from poster_ml.training.precision import precision_scope, resolve_precision

CHANNELS = (64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)


def engine(samples: Samples, size: int, batch: int) -> tuple[Callable[[], Any], Callable[[], Any], str]:
    """Returns an epoch of training, a forward pass of one batch, and the precision they are in."""
    path = REPOSITORY / "experiments" / "vgg16.yaml"
    config = replace(load_experiment(path), **{"model.weights": "none", "augment.strength": 0.0})
    precision = resolve_precision(config.train.precision)
    with precision_scope(precision):
        network = build_network(config, size, weights="none")
    batches = Batches(samples, batch, seed=0)
    compile_model(network, config.train, len(batches), 1)
    images = np.asarray(samples.images[:batch])
    return (
        lambda: network.fit(batches, epochs=1, shuffle=False, verbose=0),
        lambda: network.predict_on_batch(images),
        precision,
    )


def plain_keras(images: np.ndarray, labels: np.ndarray, batch: int) -> Callable[[], Any]:
    inputs = keras.Input(images.shape[1:], dtype="uint8")
    pixels = keras.layers.Rescaling(1.0)(inputs)
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=images.shape[1:])
    for layer in base.layers:
        layer.trainable = layer.name.startswith(("block4", "block5"))
    values = keras.layers.Flatten()(base(keras.applications.vgg16.preprocess_input(pixels)))
    for _ in range(2):
        values = keras.layers.Dropout(0.3)(keras.layers.Dense(512, activation="relu")(values))
    model = keras.Model(inputs, keras.layers.Dense(1)(values))
    model.compile(
        keras.optimizers.Adam(1e-5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0), keras.metrics.AUC(from_logits=True)],
    )
    return lambda: model.fit(images, labels[:, None], batch_size=batch, epochs=1, verbose=0)


def pytorch(images: np.ndarray, labels: np.ndarray, batch: int, compiled: bool) -> Callable[[], Any]:
    import torch
    from torch import nn

    layers: list[Any] = []
    width = 3
    for block, channels in enumerate(CHANNELS, start=1):
        for count in channels:
            convolution = nn.Conv2d(width, count, 3, padding=1).requires_grad_(block >= 4)
            layers += [convolution, nn.ReLU(inplace=True)]
            width = count
        layers.append(nn.MaxPool2d(2))
    features = 512 * (images.shape[1] // 32) ** 2
    head = [nn.Flatten(), nn.Linear(features, 512), nn.ReLU(), nn.Dropout(0.3)]
    head += [nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.3), nn.Linear(512, 1)]
    model = nn.Sequential(*layers, *head).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], 1e-5)
    forward = torch.compile(model) if compiled else model
    mean = torch.tensor([123.68, 116.779, 103.939]).reshape(1, 3, 1, 1)

    def run() -> float:
        total = 0.0
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).float() - mean
            target = torch.from_numpy(labels[start : start + batch, None].astype("float32"))
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16):
                logits = forward(pixels)
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        return total

    return run


def products(precision: str, with_torch: bool, side: int = 4096) -> dict[str, Callable[[], Any]]:
    """Large matrix products, one per library."""
    kind = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    values = np.random.default_rng(0).normal(size=(side, side)).astype("float32")
    left = keras.ops.cast(keras.ops.convert_to_tensor(values), kind)
    ways: dict[str, Callable[[], Any]] = {
        f"matrix product, {keras.backend.backend()}": lambda: keras.ops.convert_to_numpy(
            keras.ops.cast(keras.ops.matmul(left, left)[0], "float32")
        )
    }
    if with_torch:
        import torch

        matrix = torch.from_numpy(values).to(getattr(torch, kind))
        ways["matrix product, torch"] = lambda: matrix @ matrix
    return ways


def operations(size: int) -> tuple[float, float]:
    """Floating-point operations per poster: forward, and a step with blocks 4 and 5 and the head trained."""
    forward = step = 0.0
    width = 3
    for block, channels in enumerate(CHANNELS, start=1):
        side = size // 2 ** (block - 1)
        for index, count in enumerate(channels):
            cost = 2.0 * side * side * 9 * width * count
            forward += cost
            # Trained: a gradient for the kernel, and one for the input, save at the lowest trained layer.
            step += cost * (1 + (block >= 4) + (block >= 4 and (block, index) != (4, 0)))
            width = count
    head = 2.0 * (512 * (size // 32) ** 2 * 512 + 512 * 512 + 512)
    return forward + head, step + 3 * head


def main() -> None:
    options = parse_options(__doc__, size=224, batch=32, steps=2, rounds=3, torch=False)
    print(machine())
    count = options.batch * options.steps
    with tempfile.TemporaryDirectory() as temporary:
        dataset = noise_dataset(Path(temporary), count, options.size)
        images, labels = np.array(dataset.images), dataset.labels(np.arange(count))
        train, forward, precision = engine(
            Samples(dataset.images, np.arange(count), labels), options.size, options.batch
        )
        ways = {
            f"engine, auto ({precision})": train,
            "plain Keras, float32": plain_keras(images, labels, options.batch),
        }
        if options.torch:
            ways["PyTorch, bfloat16"] = pytorch(images, labels, options.batch, compiled=False)
            ways["PyTorch, bfloat16, torch.compile"] = pytorch(images, labels, options.batch, compiled=True)
        print(f"{keras.backend.backend()}, training step, batch {options.batch}, {options.size} pixels")
        seconds = alternate(ways, options.rounds)
        print_seconds(seconds, count, f"engine, auto ({precision})")
        peak_ways = products(precision, options.torch)
        shares = alternate({**peak_ways, "forward": forward, "step": train}, options.rounds)
    peak = 2 * 4096.0**3 / min(shares[name] for name in peak_ways)
    for name in peak_ways:
        print(f"{name:<34} {2 * 4096.0**3 / shares[name] / 1e9:9.0f} Gflop/s in {precision}")
    per_forward, per_step = operations(options.size)
    for name, flops in (("forward", per_forward * options.batch), ("step", per_step * count)):
        speed = flops / shares[name]
        print(f"{name:<34} {speed / 1e9:9.0f} Gflop/s   {100 * speed / peak:5.1f} % of the peak")


if __name__ == "__main__":
    main()
