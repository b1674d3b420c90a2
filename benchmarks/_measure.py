"""What the benchmarks share: options, alternating timing, a line about the machine, posters of noise."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.data.prepared import PreparedDataset


def parse_options(document: str, **defaults: int | str | bool) -> argparse.Namespace:
    """Reads options of these names, each of the type of its default; the help is the script's docstring."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=document, formatter_class=layout)
    for name, default in defaults.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument(f"--{name}", **kind)
    return parser.parse_args()


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Runs all ways in turn, so that another load on the machine hits all alike.

    Args:
        ways: what to time, by name; each is run once more at the start, to compile.
        rounds: timed rounds, at least 1.

    Returns: median seconds by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> str:
    """One line: processor, cores, and how busy the machine was in the last minute."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    flags = next((line for line in lines if line.startswith("flags")), "")
    fast = ", avx512_bf16" if "avx512_bf16" in flags else ""
    return f"{os.cpu_count()} cores of {model}{fast}; load {os.getloadavg()[0]:.1f}"


def print_seconds(seconds: Mapping[str, float], images: int, reference: str) -> None:
    """Prints images/s of every way and how many times faster `reference` is."""
    for name, value in seconds.items():
        ratio = value / seconds[reference]
        print(f"{name:<34} {images / value:9.2f} images/s   {reference} is {ratio:6.2f}x", flush=True)


def logged_model(network: Any, folder: Path, **about: Any) -> str:
    """Logs a network as `log_poster_model` does, into a store in a folder; returns the model's URI."""
    import mlflow

    from poster_ml.serving.log import log_poster_model

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("benchmark", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("benchmark")
    with mlflow.start_run():
        return str(log_poster_model(network, **about).model_uri)


def noise_dataset(folder: Path, count: int, size: int, seed: int = 0) -> PreparedDataset:
    """Makes a dataset that a network can learn a little from; pixels in `folder/images.npy`, mapped.

    Noise whose brightness follows the label; every fifth poster is for validation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    labels = np.arange(count) // 5 % 2
    file = folder / "images.npy"
    images = np.lib.format.open_memmap(file, mode="w+", dtype="uint8", shape=(count, size, size, 3))
    for start in range(0, count, 64):
        part = labels[start : start + 64]
        pixels = numbers.integers(0, 216, (len(part), size, size, 3), dtype=np.uint8)
        images[start : start + 64] = pixels + (part * 39).astype("uint8")[:, None, None, None]
    images.flush()
    del images
    index = pd.DataFrame({"label": labels, "split": np.where(np.arange(count) % 5 == 4, "val", "train")})
    manifest = {"fingerprint": f"noise-{count}-{size}-{seed}"}
    return PreparedDataset(folder, np.load(file, mmap_mode="r"), index, manifest)
