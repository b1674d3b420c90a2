"""The MLflow run of a dataset: made by preprocess, completed by explore, pointed at by training runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poster_ml.data.prepared import PreparedDataset
from poster_ml.tracking.runs import RunLogger, open_run, search_runs
from poster_ml.tracking.store import work_done

FILES = ("manifest.json", "rejected.csv", "duplicates.csv")  # the index names films, the array shows them


def log_dataset_run(dataset: PreparedDataset) -> str:
    """Logs what a dataset is and how it was made; a dataset that has a run keeps that one.

    Returns: the run's id.
    Raises: TrackingError that says that the dataset is complete.
    """
    done = f"the dataset in {dataset.folder} is complete"
    with work_done(f"{done} (`poster-ml explore --data {dataset.folder}` logs it later)"):
        return _dataset_run(dataset)


def log_exploration(dataset: PreparedDataset, files: Sequence[Path], findings: Sequence[str]) -> str:
    """Adds figures and the audit to the dataset's run, which is made where missing; returns its id.

    Raises: TrackingError that says that the files are complete.
    """
    with work_done(f"{len(files)} files are complete in {files[0].parent}"):
        run = RunLogger(_dataset_run(dataset))
        for file in files:
            run.log_file(file, "exploration")
        run.set_tags({"mlflow.note.content": "\n\n".join(findings)})
    return run.run_id


def find_dataset_run(fingerprint: str) -> str:
    """Returns the id of the run that logged a dataset, or an empty text."""
    made = f"tags.kind = 'preprocess' and tags.`dataset.fingerprint` = '{fingerprint}'"
    found = search_runs(f"{made} and attributes.status = 'FINISHED'", limit=1)
    return found[0].run_id if found else ""


def _dataset_run(dataset: PreparedDataset) -> str:
    """Returns the id of the dataset's run, which is made where it is missing."""
    known = find_dataset_run(dataset.fingerprint)
    if known:
        return known
    tags = {"kind": "preprocess", "dataset.fingerprint": dataset.fingerprint}
    name = f"preprocess {dataset.folder.name}"
    with open_run(name, tags=tags, system_metrics=False) as run:
        run.log_params({**dataset.manifest["options"], **dataset.manifest["source"]})
        run.log_metrics(_numbers(dataset.manifest))
        run.log_dataset(dataset, "preprocess")
        for file in FILES:
            if (dataset.folder / file).is_file():
                run.log_file(dataset.folder / file)
        return run.run_id


def _numbers(manifest: dict[str, Any]) -> dict[str, float]:
    numbers = {f"rows_{name}": count for name, count in manifest["counts"].items()}
    for split, balance in manifest["class_balance"].items():
        numbers[f"{split}_posters"] = balance["posters"]
        numbers[f"{split}_fresh_share"] = balance["fresh_share"]
    return numbers | dict(manifest["duplicates"])
