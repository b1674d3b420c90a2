"""The frozen prefix run once, against running it in every epoch: time of a whole training, and its metrics.

Command: python benchmarks/features.py [--size 224] [--posters 200] [--epochs 15] [--rounds 1]

Trains the variant vgg16_features (VGG-16 frozen, flatten, 2 x (dense 512, dropout .3), RMSprop 1e-4, batch
32) twice in each round on the same posters, once with `train.feature_cache` and an empty cache,
once without. Both train with the same seeds, so the metrics of all epochs should agree to rounding.
Weights are random: the arithmetic is the same.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _measure import machine, noise_dataset, parse_options

from poster_ml.config import REPOSITORY, load_experiment, replace
from poster_ml.pipeline.fit import TrainedModel, fit_model


def main() -> None:
    options = parse_options(__doc__, size=224, posters=200, epochs=15, rounds=1)
    print(machine())
    config = load_experiment(REPOSITORY / "experiments" / "vgg16_features.yaml")
    settings = {"model.weights": "none", "train.epochs": options.epochs, "train.patience": 0}
    config = replace(config, **settings)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as temporary:
        dataset = noise_dataset(Path(temporary) / "data", options.posters, options.size)
        results: dict[bool, TrainedModel] = {}
        for turn in range(options.rounds):
            for cached in (True, False):
                place = Path(temporary) / f"{turn} {cached}"
                begin = time.perf_counter()
                results[cached] = fit_model(
                    replace(config, **{"train.feature_cache": cached}),
                    dataset,
                    folder=place / "run",
                    cache_folder=place / "features",
                )
                seconds[cached].append(time.perf_counter() - begin)
                print(f"feature_cache={cached!s:<6} {seconds[cached][-1]:8.1f} s", flush=True)
    ratio = float(np.median(seconds[False]) / np.median(seconds[True]))
    print(f"{options.posters} posters of {options.size} pixels, {options.epochs} epochs, whole: {ratio:.1f}x")
    for metric in ("loss", "val_loss", "val_auc"):
        curves = [[epoch[metric] for epoch in results[cached].fitted.fit.history] for cached in (True, False)]
        apart = np.abs(np.subtract(*curves)).max()
        print(
            f"{metric:<9} last epoch {curves[0][-1]:.4f} and {curves[1][-1]:.4f}, at most {apart:.1e} apart"
        )


if __name__ == "__main__":
    main()
