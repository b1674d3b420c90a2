"""Augmentation: images per second of the one-pass layer against what it replaces.

Command: python benchmarks/augmentation.py [--size 224] [--batch 32] [--rounds 8]
Compares, at the study's settings (rotation 50, zoom .3, shift .2, shear .2, flip, fill nearest):
  one pass                     poster_ml.augment.affine.RandomAffine, compiled
  chain of layers              keras.layers.RandomFlip, Rotation, Zoom, Translation, Shear, compiled
  ImageDataGenerator           keras' own, picture by picture
Rounds are interleaved, so that another load on the machine hits all alike; the median round counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _measure import alternate, machine, parse_options, print_seconds
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from poster_ml.augment.affine import RandomAffine


def one_pass(size: int) -> keras.Model:
    inputs = keras.Input((size, size, 3), dtype="uint8")
    return keras.Model(inputs, RandomAffine(50.0, 0.3, 0.2, 0.2, True)(inputs))


def chain(size: int) -> keras.Model:
    inputs = keras.Input((size, size, 3), dtype="uint8")
    images: Any = keras.layers.Rescaling(1.0)(inputs)
    for layer in (
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(50 / 360, fill_mode="nearest"),
        keras.layers.RandomZoom(0.3, 0.3, fill_mode="nearest"),
        keras.layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
        keras.layers.RandomShear(0.2 / 90, 0.2 / 90, fill_mode="nearest"),
    ):
        images = layer(images)
    return keras.Model(inputs, images)


def compiled(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """Returns the model's training-time forward pass as one compiled function of the backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda images: model(images, training=True))
    if backend == "jax":
        import jax

        step = jax.jit(
            lambda states, images: model.stateless_call(
                [value.value for value in model.trainable_variables], states, images, training=True
            )
        )
        states = [value.value for value in model.non_trainable_variables]

        def run(images: np.ndarray) -> Any:
            nonlocal states
            result, states = step(states, images)
            return result

        return run
    return lambda images: model(images, training=True)


def generator(images: np.ndarray) -> Callable[[np.ndarray], Any]:
    augment = ImageDataGenerator(
        rotation_range=50,
        zoom_range=0.3,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.2,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    flow = augment.flow(images.astype("float32"), batch_size=len(images), shuffle=False)
    return lambda _: next(flow)


def main() -> None:
    options = parse_options(__doc__, size=224, batch=32, rounds=8)
    shape = (options.batch, options.size, options.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    ways = {
        "one pass": compiled(one_pass(options.size)),
        "chain of layers": compiled(chain(options.size)),
        "ImageDataGenerator": generator(images),
    }
    waited = {
        name: lambda augment=augment: np.asarray(keras.ops.convert_to_numpy(augment(images)))
        for name, augment in ways.items()
    }
    seconds = alternate(waited, options.rounds)
    backend = keras.backend.backend()
    print(f"backend {backend}, batch {options.batch}, {options.size} pixels, {machine()}")
    print_seconds(seconds, options.batch, "one pass")


if __name__ == "__main__":
    main()
