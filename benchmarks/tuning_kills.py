"""A search whose workers and command are killed at random, against one that nobody disturbs.

    python -m benchmarks.tuning_kills                  # a few minutes: 20 workers and 5 commands of 30 trials
    python -m benchmarks.tuning_kills --trials 10 --workers-killed 4 --commands-killed 2

The objective is the surrogate of `tests/tuning/surrogates.py`: deterministic, with a checkpoint per epoch.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import Client

from poster_ml.tuning.study import StudySpec, open_study
from tests.tuning.command import workers_of

ROOT = Path(__file__).parents[1]
TPE, RANDOM = ("tpe", "median"), ("random", "none")


def start(
    folder: Path, trials: int, workers: int, seconds: float, how: tuple[str, str], scheduler: str = ""
) -> Any:
    folder.mkdir(exist_ok=True)
    words = [folder, folder / "optuna.db", trials, workers, seconds, scheduler, *how]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tuning.command", *map(str, words)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def ledger(folder: Path, word: str) -> list[str]:
    file = folder / "ledger"
    return [line for line in file.read_text().splitlines() if line.startswith(word)] if file.exists() else []


def trials_of(folder: Path) -> list[tuple[Any, ...]]:
    found = open_study(StudySpec("study", str(folder / "optuna.db"))).trials()
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in found]


def disturb(folder: Path, trials: int, seconds: float, workers: int, commands: int, seed: int) -> int:
    """Kills so many worker processes and commands, once another epoch has begun; returns the epochs run."""
    draws = random.Random(seed)
    kills = ["worker"] * workers + ["command"] * commands
    draws.shuffle(kills)
    process = start(folder, trials, 1, seconds, TPE)
    for position, kind in enumerate(kills):
        # Spread over the search: a trial whose workers die four times without an epoch between is given up.
        due = max(len(ledger(folder, "epoch")) + 1, (position + 1) * 2 * trials // len(kills))
        while len(ledger(folder, "epoch")) < due and process.poll() is None:
            time.sleep(0.02)
        time.sleep(draws.random() * seconds)
        if process.poll() is not None:
            raise SystemExit(f"the search was over after {position} kills: give more --trials")
        if kind == "command":
            process.kill()
            process.wait()
            process = start(folder, trials, 1, seconds, TPE)
            continue
        while not (found := workers_of(process.pid)):
            time.sleep(0.02)
        found[0].kill()
    process.wait()
    return len(ledger(folder, "epoch"))


def far(folder: Path, trials: int, seconds: float) -> None:
    """The same search on two workers that are started by hand, each in a folder of its own."""
    file = folder / "scheduler.json"
    shared = ["--scheduler-file", str(file), "--no-dashboard"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = []
    for name, words in (
        ("scheduler", ["dask_scheduler", "--host", "127.0.0.1", "--port", "0"]),
        ("one", ["dask_worker", "--nthreads", "1"]),
        ("two", ["dask_worker", "--nthreads", "1"]),
    ):
        (folder / name).mkdir(parents=True)
        line = [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:], *shared]
        started.append(subprocess.Popen(line, cwd=folder / name, env=environment, stderr=subprocess.DEVNULL))
    try:
        with Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        start(folder, trials, 1, seconds, RANDOM, address).wait()
    finally:
        for each in reversed(started):
            each.terminate()
            each.wait()


def main(options: argparse.Namespace, folder: Path) -> None:
    trials, seconds = options.trials, options.seconds
    start(folder / "calm", trials, 1, seconds, TPE).wait()
    epochs = disturb(
        folder / "killed", trials, seconds, options.workers_killed, options.commands_killed, options.seed
    )
    calm, killed = trials_of(folder / "calm"), trials_of(folder / "killed")
    counted = [trial for trial in killed if trial[1] in ("COMPLETE", "PRUNED")]
    print(f"{options.workers_killed} workers and {options.commands_killed} commands killed, TPE, one worker:")
    print(f"  {len(counted)} counted trials, {len({trial[0] for trial in counted})} numbers")
    print(f"  the same trials, values and best as undisturbed: {killed == calm}")
    print(f"  epochs run: {epochs}, undisturbed {len(ledger(folder / 'calm', 'epoch'))}")
    start(folder / "one", trials, 1, seconds, RANDOM).wait()
    start(folder / "four", trials, 4, seconds, RANDOM).wait()
    far(folder / "far", trials, seconds)
    one, four, scheduler = (trials_of(folder / name) for name in ("one", "four", "far"))
    print(f"random draws, {trials} trials: one worker = four workers: {one == four}")
    print(f"  one worker = two workers of other folders through --scheduler: {one == scheduler}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.1, help="of an epoch; a trial has up to six")
    parser.add_argument("--workers-killed", type=int, default=20)
    parser.add_argument("--commands-killed", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    with tempfile.TemporaryDirectory() as temporary:
        main(parser.parse_args(), Path(temporary))
