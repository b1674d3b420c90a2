"""Where the seconds of `train` and `evaluate` go: one row per stage, one column per variant.

    python -m benchmarks.stages --data data/prepared --variants mobilenet_v2 --set model.weights=FILE

Runs the commands as a user does, in a store of its own under a temporary folder, and takes the time at the
lines that they print on stderr: a line that opens a stage ends the one before. The feature cache is empty.
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

from benchmarks._measure import machine

START = "start, dataset, network"
# How the line begins that opens a stage, in their order.
STAGES = {
    "frozen features": "running the frozen layers",
    "epochs": "training on",
    "scores": "scoring",
    "metrics and figures": "evaluating",
    "maps, faithfulness": "explaining",
    "shortcut tests": "testing shortcuts",
    "neighbours": "features of the training",
    "logging the model": "logging the model",
}


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[pd.Series, str]:
    """Runs one command; returns the seconds of each stage and what it printed on stdout."""
    command: list[str] = [sys.executable, "-m", "poster_ml", *arguments]
    ahead = [START, *STAGES]
    seconds = dict.fromkeys(ahead, 0.0)
    stage, since = START, time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as answer,
        subprocess.Popen(
            command, stdout=answer, stderr=subprocess.PIPE, text=True, env=environment
        ) as process,
    ):
        for line in process.stderr or ():
            later = ahead[ahead.index(stage) + 1 :]  # shortcut tests say "scoring" too
            opened = next((one for one in later if line.startswith(STAGES[one])), stage)
            if opened != stage:
                now = time.perf_counter()
                seconds[stage] += now - since
                stage, since = opened, now
        if process.wait():
            raise SystemExit(f"{' '.join(arguments)} failed: run it by itself")
        seconds[stage] += time.perf_counter() - since
        answer.seek(0)
        return pd.Series(seconds), answer.read()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="a prepared dataset")
    parser.add_argument("--variants", default="basic_cnn,mobilenet_v2", help="names, separated by commas")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="[variant:]key=value")
    arguments = parser.parse_args()
    print(machine())
    columns = {}
    for variant in arguments.variants.split(","):
        own = [text.removeprefix(f"{variant}:") for text in arguments.settings]
        overrides = [part for text in own if ":" not in text.partition("=")[0] for part in ("--set", text)]
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {
                "MLFLOW_TRACKING_URI": f"sqlite:///{Path(folder) / 'mlflow.db'}",
                "POSTER_ML_CACHE": str(Path(folder) / "cache"),
            }
            train = ["train", "--model", variant, "--data", arguments.data, *overrides]
            columns[f"train {variant}"], said = timed(train, environment)
            run_id = said.partition(" run ")[2].partition(",")[0]
            evaluate = ["evaluate", "--run", run_id, "--split", "test"]
            columns[f"evaluate {variant}"], _ = timed(evaluate, environment)
        table = pd.DataFrame(columns)  # so far: a variant may take half an hour
        print(pd.concat([table, table.sum().to_frame("all").T]).round(1).to_string(), flush=True)


if __name__ == "__main__":
    main()
