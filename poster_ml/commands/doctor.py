"""`poster-ml doctor`: what this machine can do, and what to fix."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from poster_ml import __version__
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import PosterMLError, mask_passwords

PACKAGES = ("keras", "tensorflow", "jax", "torch", "mlflow", "optuna", "keras-tuner")


@dataclass(frozen=True)
class DoctorResult:
    """Facts by name, and what to fix."""

    facts: dict[str, str]
    advice: list[str]

    def text(self) -> str:
        """Returns one fact per line, then the advice."""
        lines = [f"{name:<18}{value}" for name, value in self.facts.items()]
        remedies = [f"to fix: {line}" for line in self.advice] or ["nothing to fix"]
        return "\n".join([*lines, "", *remedies])


def run_doctor() -> DoctorResult:
    """Looks at backend, devices, precision, weights, stores, versions, disk and programs."""
    import keras

    from poster_ml.training.precision import resolve_precision

    advice: list[str] = []
    usual, depthwise = resolve_precision("auto"), resolve_precision("auto", depthwise=True)
    managers = [name for name in ("conda", "virtualenv", "uv") if shutil.which(name)]
    facts = {
        "poster-ml": __version__,
        "python": sys.version.split()[0],
        **{name: _version(name) for name in PACKAGES},
        "backend": keras.backend.backend(),
        "devices": ", ".join(keras.distribution.list_devices()) or "cpu",
        "cores": _cores(advice),
        "precision auto": usual if usual == depthwise else f"{usual}; mobilenet_v2: {depthwise}",
        "ImageNet weights": _weights(advice),
        "store": _store(advice),
        "dataset": _dataset(advice),
        "free disk": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB",
        "mlflow run with": ", ".join([*managers, "local"]),
        "text detector": "found" if find_spec("rapidocr") else "not installed (optional: text masks)",
    }
    if "conda" not in managers:
        advice.append("no conda: add --env-manager uv, virtualenv or local to `mlflow run`")
    return DoctorResult(facts, advice)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cores(advice: list[str]) -> str:
    """Returns how many cores this process may use, and what keeps them busy."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load >= usable / 2:
        advice.append(
            f"other programs keep {load:.1f} of {usable} cores busy: training slows down accordingly, "
            "two trainings at a time take about twice as long each"
        )
    return f"{usable} of {os.cpu_count()}, load {load:.1f}"


def _weights(advice: list[str]) -> str:
    from poster_ml.models.catalogue import FAMILIES

    folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    backbones = [family for family in FAMILIES.values() if family.has_backbone]
    found = [family.name for family in backbones if (folder / family.weights_file).is_file()]
    missing = [family.name for family in backbones if family.name not in found]
    if missing:
        advice.append(
            f"no ImageNet weights yet for {', '.join(missing)}: they are downloaded when first needed; "
            f"without internet put the files into {folder} or pass --weights FILE"
        )
    return ", ".join(found) or f"none in {folder}"


def _store(advice: list[str]) -> str:
    from poster_ml.tracking.runs import search_runs
    from poster_ml.tracking.store import file_store, sqlite_file, tracking_uri

    uri = tracking_uri()
    shown = mask_passwords(uri)
    if file_store(Path.cwd()):
        advice.append(
            "mlruns/ has runs of an older MLflow, with which a plain `mlflow ui` does not start: call "
            f"`mlflow ui --backend-store-uri {shown}`; `mlflow migrate-filestore` brings the old runs along"
        )
    try:
        file = sqlite_file(uri)
        if file is not None and not file.is_file():
            return f"{shown}, not there yet"
        return f"{shown}, {len(search_runs())} runs"
    except PosterMLError as error:
        advice.append(str(error))
        return f"{shown}, cannot be read"


def _dataset(advice: list[str]) -> str:
    from poster_ml.pipeline.task import DEFAULT_DATA

    try:
        dataset = PreparedDataset.open(DEFAULT_DATA)
    except PosterMLError:
        advice.append(
            f"no dataset at {DEFAULT_DATA}: call `poster-ml preprocess --table FILE --posters DIR`; "
            "until then train, tune and suite run the demo profile"
        )
        return f"none at {DEFAULT_DATA}"
    return f"{DEFAULT_DATA}, {len(dataset.index)} posters of {dataset.size} pixels"
