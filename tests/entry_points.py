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

import yaml

PROJECT = Path(__file__).resolve().parent.parent
COPIED = ("MLproject", "conda.yaml", "poster_ml", "experiments")


def main() -> None:
    """Runs preprocess, train, suite, tune, evaluate and main; stops at the first that fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "poster-ml"
        folder.mkdir()
        for name in COPIED:
            source = PROJECT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / name)
        declared = set(yaml.safe_load((folder / "MLproject").read_text())["entry_points"])
        seen = run_all(folder)
        if seen != declared:
            raise SystemExit(f"entry points declared but not run: {sorted(declared - seen)}")
        print(f"{len(seen)} passed, 0 failed")


def run_all(folder: Path) -> set[str]:
    """Calls every entry point once with small parameters and returns their names."""
    synthetic = folder.parent / "synthetic"
    command(folder, "-m", "poster_ml", "synth", str(synthetic), "--count", "120")
    posters = {"table": synthetic / "movies.csv", "posters": synthetic / "posters"}
    entry(folder, "preprocess", **posters, out=folder.parent / "prepared", size=80, split="stratified")
    entry(folder, "train", model="vgg16", epochs=1, limit=120, set="explain.faithfulness_posters=0")
    trained = newest(folder, "tags.variant = 'vgg16'")
    check(trained, {"train.epochs": "1", "max_samples": "120", "explain.faithfulness_posters": "0"}, "demo")
    entry(folder, "suite", only="basic_cnn", data=folder.parent / "prepared", epochs=1)
    suite = newest(folder, "tags.variant = 'basic_cnn'")
    check(suite, {"data": str(folder.parent / "prepared"), "train.epochs": "1"}, "full")
    entry(folder, "tune", model="basic_cnn", trials=2, data=folder.parent / "prepared")
    entry(folder, "evaluate", run=suite["run_id"], split="test")
    assert "test_roc_auc" in newest(folder, f"attributes.run_id = '{suite['run_id']}'")["metrics"]
    entry(folder, "main", out=folder.parent / "demo")
    assert (folder.parent / "demo" / "report.html").is_file()
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
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(done.stdout[-5000:], done.stderr[-10000:], sep="\n")
        raise SystemExit(f"failed with exit code {done.returncode}: {' '.join(arguments)}")


def newest(folder: Path, query: str) -> dict[str, dict[str, str]]:
    """Looks the newest run of a query up in the folder's store."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("poster-ml")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], query, max_results=1)
    return {
        "run_id": run.info.run_id,
        **{key: dict(getattr(run.data, key)) for key in ("params", "tags", "metrics")},
    }


def check(run: dict[str, dict[str, str]], params: dict[str, str], profile: str) -> None:
    """Every declared parameter must have reached the program."""
    for key, value in params.items():
        assert run["params"][key] == value, f"{key} is {run['params'][key]!r}, not {value!r}"
    assert run["tags"]["profile"] == profile


if __name__ == "__main__":
    main()
