"""Two trainings beside each other on one machine, against one alone: goal at most 2.2 times its seconds.

Command: python benchmarks/beside.py [--size 224] [--batch 32] [--steps 2] [--rounds 3]

Fine-tuning steps of `experiments/vgg16.yaml` on noise with random weights, each training in a process of its
own. Alone and beside each other take turns; of two the slower one counts, and of all rounds the median.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _measure import machine, noise_dataset, parse_options


def train(size: int, batch: int, steps: int) -> None:
    """A process: after one epoch to compile, an epoch of `steps` batches for each line that it is sent."""
    from finetuning import engine

    from poster_ml.training.batches import Samples

    with tempfile.TemporaryDirectory() as folder:
        dataset = noise_dataset(Path(folder), batch * steps, size)
        rows = np.arange(batch * steps)
        epoch, _, precision = engine(Samples(dataset.images, rows, dataset.labels(rows)), size, batch)
        epoch()
        print(precision, flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            epoch()
            print(time.perf_counter() - start, flush=True)


def slowest(processes: Sequence[subprocess.Popen[str]]) -> float:
    """Has all of them train at the same time; returns the seconds of the slowest."""
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.stdout.readline()) for process in processes if process.stdout)


def main() -> None:
    options = parse_options(__doc__, size=224, batch=32, steps=2, rounds=3, process=False)
    if options.process:
        train(options.size, options.batch, options.steps)
        return
    print(machine())
    command = [sys.executable, __file__, "--process", f"--size={options.size}"]
    command += [f"--batch={options.batch}", f"--steps={options.steps}"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    precisions = {process.stdout.readline().strip() for process in processes if process.stdout}
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(options.rounds):
        alone.append(slowest(processes[:1]))
        beside.append(slowest(processes))
    for process in processes:
        process.communicate()
    first, second = statistics.median(alone), statistics.median(beside)
    ratio = f"alone {first:.1f} s, beside each other {second:.1f} s, {second / first:.2f}x"
    print(f"{' '.join(precisions)}: {ratio}")


if __name__ == "__main__":
    main()
