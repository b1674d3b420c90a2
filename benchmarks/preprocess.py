"""Preparing posters against the plain loop: posters per second and peak memory, as ratios.

    python benchmarks/preprocess.py                      # 1,000 and 16,000 synthetic posters of 182 x 268
    python benchmarks/preprocess.py --counts 500 2000    # a shorter look
    python benchmarks/preprocess.py --posters DIR        # real files, repeated until there are enough
    python benchmarks/preprocess.py --against DIR        # and against another checkout of poster-ml

The plain loop opens one file after the other with Pillow, resizes it, keeps it in a list and stacks the list:
what most poster classifiers do. It does less: no checks, no checksums, no duplicates, no splits.
Every measurement runs in a process of its own; its peak memory is its own and its workers' together. The ways
take turns, and the best of --repeats counts: what else runs on the machine only ever slows down. On a busy
machine look at the posters per second of processor time, which counts what this process itself did.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from PIL import Image

SIZE = 224
ROOT = Path(__file__).resolve().parents[1]
CLUSTER = "prepare, cluster"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 16_000])
    parser.add_argument("--posters", type=Path, help="a folder of .jpg files instead of synthetic ones")
    parser.add_argument("--against", type=Path, help="another checkout, whose `prepare` is measured, too")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--measure", nargs=4, metavar=("WAY", "COUNT", "POSTERS", "OUT"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.measure:
        way, count, posters, out = arguments.measure
        print(json.dumps(measure(way, int(count), Path(posters), Path(out))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        posters = arguments.posters or write_posters(Path(scratch) / "posters", max(arguments.counts))
        ways = dict.fromkeys(("plain loop", "prepare, 1 worker", "prepare", CLUSTER), ROOT)
        if arguments.against:
            ways["prepare, other"] = arguments.against.resolve()
        results: dict[tuple[str, int], dict[str, float]] = {}
        for count, _ in product(arguments.counts, range(arguments.repeats)):
            for way, code in ways.items():
                result = run(way, count, posters, Path(scratch) / "out", code)
                best = results.setdefault((way, count), result)
                results[way, count] = {name: min(best[name], result[name]) for name in result}
    report(results, arguments.counts)


def write_posters(folder: Path, count: int) -> Path:
    """Draws posters with some texture, so that a file has the 10 to 25 kB of a real one."""
    folder.mkdir()
    random = np.random.default_rng(0)
    grain = random.normal(0, 12, (268, 182, 1)).astype(np.int16)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (9, 6, 3), np.uint8)).resize((182, 268))
        pixels = (np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06d}.jpg", quality=80)
    return folder


def run(way: str, count: int, posters: Path, out: Path, code: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, str(count), str(posters), str(out)]
    environment = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}, {count} posters: {result['seconds']:.1f} s", file=sys.stderr)
    return result


def measure(way: str, count: int, posters: Path, out: Path) -> dict[str, float]:
    files = sorted(posters.glob("*.jpg"))
    paths = [files[number % len(files)] for number in range(count)]
    with PeakMemory() as memory:
        if way == "plain loop":
            start, worked = time.perf_counter(), time.process_time()
            images = np.stack(
                [np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE))) for path in paths]
            )
            seconds, worked = time.perf_counter() - start, time.process_time() - worked
            assert len(images) == count
        else:
            from poster_ml.data.prepared import prepare

            table = pd.DataFrame(
                {
                    "movie_id": [f"m{number}" for number in range(count)],
                    "title": "A film",
                    "year": 2000,
                    "genres": "Drama",
                    "label": np.arange(count) % len(files) % 2,
                    "tomatometer_rating": 60.0,
                    "image": [str(path) for path in paths],
                }
            )
            nothing = pd.DataFrame(columns=["row", "movie_id", "reason"])
            with open_workers(way) as workers:
                start, worked = time.perf_counter(), time.process_time()
                prepare(
                    table, nothing, out, size=SIZE, fit="squash", split="stratified", seed=0, workers=workers
                )
                seconds, worked = time.perf_counter() - start, time.process_time() - worked
    return {"seconds": seconds, "worked": worked, "megabytes": memory.peak / 2**20}


def open_workers(way: str) -> AbstractContextManager[Any]:
    """Gives threads, or two processes as --scheduler would reach them."""
    from poster_ml.cluster import open_cluster

    return open_cluster(2) if way == CLUSTER else nullcontext(1 if way.endswith("1 worker") else None)


class PeakMemory:
    """Watches the memory of this process and its children: their largest sum while the block runs."""

    def __enter__(self) -> PeakMemory:
        """Starts watching."""
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stops watching."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            total = process.memory_info().rss
            for child in process.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)
            if self._done.wait(0.05):
                return


def report(results: dict[tuple[str, int], dict[str, float]], counts: list[int]) -> None:
    titles = f"{'way':20s}{'posters':>9s}{'posters/s':>11s}{'speed':>8s}{'/s of CPU':>11s}{'speed':>8s}"
    print(f"{titles}{'peak MB':>9s}{'memory':>8s}")
    for count in counts:
        plain = results["plain loop", count]
        for (way, number), result in results.items():
            if number != count:
                continue
            speed = plain["seconds"] / result["seconds"]
            work, memory = (plain[name] / result[name] for name in ("worked", "megabytes"))
            print(
                f"{way:20s}{count:9d}{count / result['seconds']:11.0f}{speed:7.2f}x"
                f"{count / result['worked']:11.0f}{work:7.2f}x{result['megabytes']:9.0f}{1 / memory:7.2f}x"
            )
    first, last = counts[0], counts[-1]
    for way in ("plain loop", "prepare"):
        growth = results[way, last]["megabytes"] / results[way, first]["megabytes"]
        print(f"{way}: {last / first:g} times the posters take {growth:.2f} times the memory")


if __name__ == "__main__":
    main()
