"""`predict --workers 2 --out` of many files while workers, and once the command itself, are killed with -9.

    python -m benchmarks.many_files                              # 2,000 files, a worker killed every 20 s
    python -m benchmarks.many_files --files 100000 --kill-every 60 --posters DIR

Files are links to the posters of a folder, or to 200 synthetic ones; the model is a small network, unless
--model-uri names one. Prints rows, doubles and losses, and the memory of the command (its workers
have their own).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pandas as pd
import psutil

from benchmarks._measure import logged_model, machine
from benchmarks.preprocess import write_posters
from tests.tuning.command import workers_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--posters", type=Path, help="a folder of .jpg files instead of synthetic ones")
    parser.add_argument(
        "--kill-every", type=float, default=20, help="seconds; more than a model takes to load"
    )
    parser.add_argument("--model-uri", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        posters = arguments.posters or write_posters(folder / "drawn", 200)
        originals = sorted(path.resolve() for path in posters.glob("*.jpg"))
        names = link(originals, folder / "posters", arguments.files)
        model_uri = arguments.model_uri or small_model(folder)
        out = folder / "predictions.csv"
        words = ["-m", "poster_ml", "predict", "--model-uri", model_uri, str(folder / "posters")]
        command = [sys.executable, *words, "--workers", "2", "--out", str(out)]
        started, killed, memory = time.monotonic(), 0, []
        for ends_at in (arguments.files // 2, arguments.files):  # the first one is killed, the second goes on
            more, megabytes = watch(command, out, ends_at, arguments.files, arguments.kill_every)
            killed += more
            memory.append(megabytes)
        seconds = time.monotonic() - started
        rows = pd.read_csv(out, dtype={"error": str})
    print(machine(), "at the end")
    print(f"{len(rows):,} rows of {arguments.files:,} files in {seconds:.0f} s")
    print(f"killed: {killed} workers, and the command once")
    print(f"doubled: {rows['poster'].duplicated().sum()}, lost: {len(set(names) - set(rows['poster']))}")
    print(f"without an answer: {rows['error'].notna().sum()}")
    pictures = rows["poster"].map(dict(zip(names, cycle(originals), strict=False)))
    different = rows.groupby(pictures)["probability_fresh"].agg(lambda of: of.max() - of.min()).max()
    print(f"largest difference between answers for one picture: {different:.1e}")
    for number, (first, half, last, most) in enumerate(memory, start=1):
        print(
            f"memory of command {number} in MB: {first:.0f} at first, {half:.0f} at half of its time, "
            f"{last:.0f} at its end, {most:.0f} at most"
        )


def link(originals: list[Path], folder: Path, count: int) -> list[str]:
    """Makes so many links, a thousand in a folder; returns their paths in order."""
    names = [folder / f"{number // 1000:04d}" / f"{number:07d}.jpg" for number in range(count)]
    for name, original in zip(names, cycle(originals), strict=False):
        name.parent.mkdir(parents=True, exist_ok=True)
        name.symlink_to(original)
    return [str(name) for name in names]


def watch(
    command: list[str], out: Path, ends_at: int, files: int, every: float
) -> tuple[int, tuple[float, float, float, float]]:
    """Runs a command, killing its workers in turn, and itself when so many rows are there.

    Returns: how many workers were killed; the command's memory in MB with its first rows, at half
        of its time from there, at its end, and the most there was.
    """
    rows, killed, seen = RowCount(out), 0, []
    before = max(1, rows.update())  # the first line is the header
    process = subprocess.Popen(command, start_new_session=True, env=os.environ | {"TQDM_DISABLE": "1"})
    last = 0.0
    while process.poll() is None:
        time.sleep(0.5)
        if rows.update() <= before:
            continue
        with suppress(psutil.NoSuchProcess):
            seen.append(psutil.Process(process.pid).memory_info().rss / 2**20)
        last = last or time.monotonic()
        if ends_at < files and rows.count >= ends_at:
            process.kill()
        elif time.monotonic() - last > every and (workers := workers_of(process.pid)):
            workers[killed % len(workers)].kill()
            killed, last = killed + 1, time.monotonic()
            print(f"{rows.count:,} rows, {killed} workers killed", file=sys.stderr)
    process.wait()
    seen = [megabytes for megabytes in seen if megabytes]  # 0: it was over
    return killed, (seen[0], seen[len(seen) // 2], seen[-1], max(seen))


class RowCount:
    """Counts the lines of a file that grows, reading only what is new."""

    def __init__(self, path: Path) -> None:
        self.path, self.count, self._read = path, 0, 0

    def update(self) -> int:
        """Returns how many there are now."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self.count, self._read = self.count + new.count(b"\n"), self._read + len(new)
        return self.count


def small_model(folder: Path) -> str:
    """Logs an untrained network of one convolution at 96 pixels; returns its URI."""
    import keras

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    os.chdir(folder)
    image = keras.Input((96, 96, 3), dtype="uint8")
    tensor = keras.layers.Conv2D(8, 5, strides=4, name="conv")(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(tensor)))
    return logged_model(network, folder, size=96, threshold=0.5, variant="basic_cnn", family="cnn")


if __name__ == "__main__":
    main()
