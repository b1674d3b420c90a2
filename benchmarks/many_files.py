"""`predict --workers 2 --out` of many files while workers, and once the command itself, are killed with -9.

    python -m benchmarks.many_files                              # 2,000 files, a worker killed every 20 s
    python -m benchmarks.many_files --files 100000 --kill-every 60

Files are links to 200 synthetic posters; the model is a small network, unless --model-uri names one. Prints
rows, doubles and losses, and the memory of the command (its workers have their own).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

from benchmarks._measure import machine
from benchmarks.preprocess import write_posters
from tests.tuning.command import workers_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument(
        "--kill-every",
        type=float,
        default=20,
        help="seconds, from the first rows on; more than it takes to load a model",
    )
    parser.add_argument("--model-uri", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        posters = write_posters(folder / "drawn", 200)
        originals = sorted(posters.iterdir())
        (folder / "posters").mkdir()
        names = [folder / "posters" / f"{number:07d}.jpg" for number in range(arguments.files)]
        for number, name in enumerate(names):
            name.symlink_to(originals[number % len(originals)])
        model_uri = arguments.model_uri or small_model(folder)
        out = folder / "predictions.csv"
        command = [
            sys.executable,
            "-m",
            "poster_ml",
            "predict",
            "--model-uri",
            model_uri,
            str(folder / "posters"),
        ]
        command += ["--workers", "2", "--out", str(out)]
        started, killed, memory = time.monotonic(), 0, []
        for ends_at in (
            arguments.files // 2,
            arguments.files,
        ):  # the first command is killed, the second goes on
            more, peaks = watch(command, out, ends_at, arguments.files, arguments.kill_every)
            killed += more
            memory.append(peaks)
        seconds = time.monotonic() - started
        rows = pd.read_csv(out)
    expected = {str(name) for name in names}
    print(machine(), "at the end")
    print(f"{len(rows):,} rows of {arguments.files:,} files in {seconds:.0f} s")
    print(f"killed: {killed} workers, and the command once")
    print(f"doubled: {rows['poster'].duplicated().sum()}, lost: {len(expected - set(rows['poster']))}")
    print(f"without an answer: {rows['error'].notna().sum()}")
    same = rows.groupby(rows.index % 200)["probability_fresh"].nunique().max()
    print(f"different answers for one picture: {same - 1}")
    for number, (early, late) in enumerate(memory, start=1):
        print(f"memory of command {number}: {early:.0f} MB at its first rows, {late:.0f} MB at its end")


def watch(
    command: list[str], out: Path, ends_at: int, files: int, every: float
) -> tuple[int, tuple[float, float]]:
    """Runs a command, killing its workers in turn, and itself when so many rows are there.

    Returns: how many workers were killed; the command's memory in MB with its first rows, and at its end.
    """
    before, killed, early, late = max(1, count_lines(out)), 0, 0.0, 0.0  # the first line is the header
    process = subprocess.Popen(command, start_new_session=True, env=os.environ | {"TQDM_DISABLE": "1"})
    last = 0.0
    while process.poll() is None:
        lines = count_lines(out)
        if lines > before:
            try:
                late = psutil.Process(process.pid).memory_info().rss / 2**20 or late  # 0: it is over
            except psutil.NoSuchProcess:
                break
            early, last = early or late, last or time.monotonic()
        if ends_at < files and lines >= ends_at:
            process.kill()
        elif last and time.monotonic() - last > every and (workers := workers_of(process.pid)):
            workers[killed % len(workers)].kill()
            killed, last = killed + 1, time.monotonic()
        time.sleep(0.1)
    process.wait()
    return killed, (early, late)


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def small_model(folder: Path) -> str:
    """Logs an untrained network of one convolution at 224 pixels; returns its URI."""
    import keras
    import mlflow

    from poster_ml.serving.log import log_poster_model

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    os.chdir(folder)
    image = keras.Input((224, 224, 3), dtype="uint8")
    tensor = keras.layers.Conv2D(8, 5, strides=4, name="conv")(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(tensor)))
    with mlflow.start_run():
        info = log_poster_model(network, size=224, threshold=0.5, variant="basic_cnn", family="cnn")
    return f"models:/{info.model_id}"


if __name__ == "__main__":
    main()
