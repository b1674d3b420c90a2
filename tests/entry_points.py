"""Runs every entry point of MLproject through `mlflow run`, as CI does, and checks what it left in the store.

    python tests/entry_points.py

It works in a temporary copy of the project, so that no dataset or store of yours is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import yaml

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Runs preprocess, train, suite, tune, evaluate and main; stops at the first that fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "poster-ml"
        for part in ("poster_ml", "experiments"):
            shutil.copytree(PROJECT / part, folder / part)
        for part in ("MLproject", "conda.yaml"):
            shutil.copy(PROJECT / part, folder)
        declared = set(yaml.safe_load((folder / "MLproject").read_text())["entry_points"])
        seen = run_all(folder)
        assert seen == declared, f"entry points declared but not run: {sorted(declared - seen)}"
        print(f"{len(seen)} passed, 0 failed")


def run_all(folder: Path) -> set[str]:
    """Calls every entry point once with small parameters and returns their names."""
    synthetic, prepared, demo = (folder.parent / name for name in ("synthetic", "prepared", "demo"))
    command(folder, "-m", "poster_ml", "synth", str(synthetic), "--count", "120")
    posters = {"table": synthetic / "movies.csv", "posters": synthetic / "posters"}
    entry(folder, "preprocess", **posters, out=prepared, size=80, split="stratified")
    entry(folder, "train", model="vgg16", epochs=1, limit=120, set="explain.faithfulness_posters=0")
    trained = newest(folder, "tags.variant = 'vgg16'")
    check(trained, {"train.epochs": "1", "max_samples": "120", "explain.faithfulness_posters": "0"}, "demo")
    entry(folder, "suite", only="basic_cnn", data=prepared, epochs=1)
    suite = newest(folder, "tags.variant = 'basic_cnn'")
    check(suite, {"data": str(prepared), "train.epochs": "1"}, "full")
    entry(folder, "tune", model="basic_cnn", trials=2, data=prepared)
    entry(folder, "evaluate", run=suite.info.run_id, split="test")
    assert "test_roc_auc" in newest(folder, f"attributes.run_id = '{suite.info.run_id}'").data.metrics
    entry(folder, "main", out=demo)
    assert (demo / "report.html").is_file()
    return {"preprocess", "train", "suite", "tune", "evaluate", "main"}


def entry(folder: Path, name: str, **parameters: object) -> None:
    """Runs one entry point as a user types it, in the environment of this interpreter."""
    given = [text for key, value in parameters.items() for text in ("-P", f"{key}={value}")]
    print(f"mlflow run . -e {name} {' '.join(given)}", flush=True)
    command(folder, "-m", "mlflow", "run", ".", "-e", name, "--env-manager", "local", *given)


def command(folder: Path, *arguments: str) -> None:
    """Runs a Python command in the folder; prints what it wrote and stops where it fails."""
    # `python` in MLproject's commands is that of the environment, as where it was activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        print(done.stdout[-5000:], done.stderr[-10000:], sep="\n")
        raise SystemExit(f"failed with exit code {done.returncode}: {' '.join(arguments)}")


def newest(folder: Path, query: str) -> Any:
    """Looks the newest run of a query up in the folder's store."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("poster-ml")
    (run,) = client.search_runs([experiment.experiment_id], query, max_results=1)
    return run


def check(run: Any, params: dict[str, str], profile: str) -> None:
    """Every declared parameter must have reached the program."""
    assert run.data.params.items() >= params.items(), f"wanted {params}, received {run.data.params}"
    assert run.data.tags["profile"] == profile


if __name__ == "__main__":
    main()
