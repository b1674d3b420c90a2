"""Peak memory of a training run: does it grow with the dataset?

Command: python benchmarks/memory.py [--posters 1000 16000] [--size 224] [--folder DIR]

Trains a small network for one epoch on synthetic posters in a memory-mapped file, each count in a process of
its own, and prints its peak resident memory: all of it (with the pages of the mapped file that were
in use), and what is the process's own (anonymous). The file has 2.4 GB for 16,000 posters of 224
pixels and is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field + ":"))) / 1024


def train(folder: Path, posters: int, size: int) -> None:
    from _measure import noise_dataset

    from poster_ml.config import ExperimentConfig, replace
    from poster_ml.pipeline.fit import fit_model

    dataset = noise_dataset(folder / "data", posters, size)
    settings = {"model.filters": [4], "model.pooling": "average", "model.dense": [], "train.epochs": 1}
    config = replace(ExperimentConfig(), **settings)
    # From here on, so that writing the file does not count.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    own = [0.0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            own[0] = max(own[0], status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    fit_model(config, dataset, folder=folder / "run", cache_folder=folder / "features")
    seconds = time.perf_counter() - begin
    ended.set()
    watcher.join()
    pixels = posters * size * size * 3 / 2**20
    print(
        f"{posters:>7} posters ({pixels:7.0f} MiB of pixels)   peak {status('VmHWM'):7.0f} MiB, "
        f"own {own[0]:7.0f} MiB, {seconds:6.1f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--posters", type=int, nargs="+", default=[1000, 16000])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--folder", type=Path, default=None, help="where the file goes; default: /tmp")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for posters in options.posters:
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            if options.alone:
                train(Path(temporary), posters, options.size)
            else:
                words = ["--posters", str(posters), "--size", str(options.size), "--folder", temporary]
                subprocess.run([sys.executable, __file__, *words, "--alone"], check=True)


if __name__ == "__main__":
    main()
