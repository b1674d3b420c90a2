"""Kill -9 at random moments: does a resumed run end with the numbers of one that was never killed?

Command: python benchmarks/resume.py [--kills 20] [--epochs 6] [--seed 0] [--family cnn|mobilenet_v2]

Trains once without a disturbance and keeps every weight, every epoch's metrics and the logits of
the validation posters. Then trains again and again, kills the process (SIGKILL, with no chance to
clean up) at random moments (some before the first epoch, most within one), starts it anew, and
compares all of it, bit by bit, whenever a run gets to its end. Deterministic mode, augmentation and
dropout on; exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _measure import machine, noise_dataset

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.pipeline.fit import fit_model

SIZE, POSTERS = 32, 320
CLOCK = ("epoch_seconds", "images_per_second")


def experiment(family: str, epochs: int) -> ExperimentConfig:
    common = {
        "seed": 7,
        "model.weights": "none",
        "model.pooling": "average",
        "model.dense": [16],
        "model.dropout": 0.3,
        "augment.rotation": 20,
        "augment.horizontal_flip": True,
        "augment.brightness": 0.2,
        "train.epochs": epochs,
        "train.batch_size": 16,
        "train.optimizer": "adam",
        "train.learning_rate": 0.003,
        "train.schedule": "plateau",
        "train.plateau_patience": 1,
        "train.ema_momentum": 0.9,
        "train.deterministic": True,
    }
    if family == "mobilenet_v2":
        own = {"model.unfreeze": 2, "train.head_warmup_epochs": 2, "train.augmented_views": 2}
    else:
        own = {"model.filters": [8, 16]}
    return replace(ExperimentConfig(), **common, **own, **{"model.family": family})


def train(config: ExperimentConfig, dataset: PreparedDataset, folder: Path) -> None:
    """What the killed process does: trains, and writes down what came out of it."""
    candidate = fit_model(config, dataset, folder=folder, cache_folder=folder / "features")
    weights = {f"weight {index}": value for index, value in enumerate(candidate.model.get_weights())}
    history = [{k: v for k, v in epoch.items() if k not in CLOCK} for epoch in candidate.fitted.fit.history]
    about = json.dumps([history, candidate.fitted.fit.best_epoch])
    np.savez(folder / "outcome.npz", about=about, logits=candidate.validation_logits, **weights)


def start(config: ExperimentConfig, dataset: PreparedDataset, folder: Path) -> int:
    """Starts a process that trains; forked before the backend was used, so that it begins at once."""
    process = os.fork()
    if process:
        return process
    try:
        train(config, dataset, folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def saved_history(folder: Path) -> list[dict[str, float]]:
    try:
        with np.load(folder / "state.npz") as stored:
            return list(json.loads(stored["about"].item())["history"])
    except FileNotFoundError:
        return []


def finished_epochs(folder: Path) -> int:
    return len(saved_history(folder))


def epoch_seconds(folder: Path) -> float:
    return float(np.median([epoch["epoch_seconds"] for epoch in saved_history(folder)]))


def survive(process: int, folder: Path, epochs: float, seconds: float) -> bool:
    """Waits until so many epochs were saved and so many seconds went by, then kills.

    Returns whether the process came to its end before that.
    """
    saved = finished_epochs(folder)
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        if deadline is None and finished_epochs(folder) - saved >= epochs:
            deadline = time.monotonic() + seconds
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            if status:
                sys.exit(f"training failed with status {status}")
            return True
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False


def differences(one: Path, other: Path) -> list[str]:
    with np.load(one / "outcome.npz") as first, np.load(other / "outcome.npz") as second:
        assert first.files == second.files
        return [name for name in first.files if not np.array_equal(first[name], second[name])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=("cnn", "mobilenet_v2"), default="cnn")
    options = parser.parse_args()
    print(machine())
    random.seed(options.seed)
    config = experiment(options.family, options.epochs)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        dataset = noise_dataset(place / "data", POSTERS, SIZE)
        began = time.monotonic()
        survive(start(config, dataset, place / "whole"), place / "whole", math.inf, 0)
        duration = time.monotonic() - began
        epoch = epoch_seconds(place / "whole")
        print(f"uninterrupted: {options.epochs} epochs in {duration:.1f} s, {epoch:.2f} s each", flush=True)
        kills = runs = 0
        while kills < options.kills:
            runs += 1
            folder = place / f"run {runs}"
            while True:
                last = kills >= options.kills  # left alone
                wait = math.inf if last else random.choice((0, 1, 1, 2))
                # Before the first epoch much time goes into building and tracing.
                pause = random.uniform(0, 2 * epoch if wait else 0.8 * duration)
                if survive(start(config, dataset, folder), folder, wait, pause):
                    break
                kills += 1
                done = finished_epochs(folder)
                print(f"kill {kills:>3}: run {runs}, in epoch {done + 1} of {options.epochs}", flush=True)
            wrong = differences(place / "whole", folder)
            print(f"run {runs} ended: {'DIFFERENT: ' + ', '.join(wrong) if wrong else 'every number equal'}")
            if wrong:
                sys.exit(1)
    print(f"{kills} kills, {runs} runs: every weight, metric and logit equal to the uninterrupted run")


if __name__ == "__main__":
    main()
