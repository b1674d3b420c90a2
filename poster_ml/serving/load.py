"""A logged model back into memory, from wherever MLflow keeps it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import mlflow

from poster_ml.errors import RegistryError, one_line
from poster_ml.serving.reference import Reference
from poster_ml.serving.settings import (
    COMPACT_FILE,
    NETWORK_FILE,
    REFERENCE_FOLDER,
    SETTINGS_FILE,
    ServingSettings,
    read_settings,
)

_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, models:/m-ID, runs:/RUN_ID/model or a folder"


def load_keras_model(model_uri: str) -> tuple[Any, ServingSettings]:
    """Loads the network alone, for evaluation and explanation.

    Args:
        model_uri: models:/name@alias, models:/name/version, models:/m-id, runs:/run_id/model, or a folder.

    Returns: the keras.Model, uint8 (B, S, S, 3) to logit (B, 1), not compiled, and its settings.
    Raises: RegistryError where there is none.
    """
    artifacts = model_folder(model_uri) / "artifacts"
    if (artifacts / COMPACT_FILE).is_file():
        raise RegistryError(
            f"{model_uri} is a quantized model, which only scores: name the model that it was made from"
        )
    if not (artifacts / SETTINGS_FILE).is_file() or not (artifacts / NETWORK_FILE).is_file():
        raise RegistryError(
            f"{model_uri} is not a poster model (no {NETWORK_FILE}): name one that `train` logged"
        )
    return read_network(artifacts / NETWORK_FILE), read_settings(artifacts / SETTINGS_FILE)


def load_reference(model_uri: str) -> Reference | None:
    """Loads what the model can say beside its probability; None where it was logged without.

    Raises: RegistryError where there is no model, or its files are broken.
    """
    folder = model_folder(model_uri) / "artifacts" / REFERENCE_FOLDER
    if not folder.is_dir():
        return None
    try:
        return Reference.load(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RegistryError(
            f"the files {folder} cannot be read ({one_line(error, 300)}): train the model again"
        ) from error


def load_poster_model(model_uri: str) -> Any:
    """Loads the model as it is served: an mlflow PyFuncModel around `PosterModel`.

    Raises: RegistryError where there is none, or it cannot be loaded.
    """
    folder = model_folder(model_uri)
    try:
        return mlflow.pyfunc.load_model(str(folder))
    except (mlflow.MlflowException, OSError, ValueError, ImportError) as error:
        raise RegistryError(f"{model_uri} cannot be loaded: {one_line(error, 300)}") from error


def read_metadata(model_uri: str) -> Any:
    """Returns what `identify` asks for, in the attribute `metadata`, without loading the network.

    Raises: RegistryError where there is no model.
    """
    return SimpleNamespace(metadata=mlflow.models.Model.load(str(model_folder(model_uri))))


def identify(model: Any, model_uri: str) -> dict[str, Any]:
    """Says which model was loaded, by what never moves, so that a result can say who made it.

    Args:
        model: what `load_poster_model` or `read_metadata` returned.
        model_uri: what it was loaded from.

    Returns: `model_id`, MLflow's id of the logged model, m-...; `model_uri`; `version`,
        "poster-vgg16 version 3" where the URI names a registered model, else ""; `run_id`, where it
        was trained; `settings`, as in `ServingSettings`.
    """
    version = ""
    if named := re.fullmatch(r"models:/+([^/@]+)([/@])([^/@]+)", model_uri):
        name, kind, number = named.groups()
        if kind == "@":
            number = mlflow.MlflowClient().get_model_version_by_alias(name, number).version
        version = f"{name} version {number}"
    return {
        "model_id": str(model.metadata.model_id or model.metadata.model_uuid),
        "model_uri": model_uri,
        "version": version,
        "run_id": str(model.metadata.run_id or ""),
        "settings": dict((model.metadata.metadata or {}).get("settings", {})),
    }


def read_network(path: Path) -> Any:
    """Reads a `.keras` file whose layers may be ours. Raises: RegistryError where it is broken."""
    import keras

    register_layers()
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RegistryError(f"the network {path} cannot be read: {one_line(error, 300)}") from error


def register_layers() -> None:
    """Imports every module that may define a Keras layer of ours, so that Keras finds it by name."""
    for package_name in ("poster_ml.augment", "poster_ml.models"):
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__, package_name + "."):
            importlib.import_module(module.name)


def model_folder(model_uri: str) -> Path:
    """Returns a local folder with the model's files; nothing is copied where the store is local.

    Raises: RegistryError where there is none.
    """
    folder = Path(model_uri)
    if re.match(r"^[a-z][a-z0-9+\-]+:", model_uri):
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=_logged_model_uri(model_uri)))
        except (mlflow.MlflowException, OSError, ValueError) as error:
            raise RegistryError(
                f"no model at {model_uri!r} ({one_line(error, 300)}): give {_FORMS}"
            ) from error
    if not (folder / "MLmodel").is_file():
        raise RegistryError(f"no model at {model_uri!r} (no file MLmodel): give {_FORMS}")
    if unquote(str(folder.absolute())) != str(folder.absolute()):
        raise RegistryError(
            f"the path {folder.absolute()} has an escape such as %20, which MLflow's load_model unquotes: "
            "copy the model to a folder without"
        )
    return folder


def _logged_model_uri(model_uri: str) -> str:
    """Turns runs:/RUN_ID/NAME into models:/m-ID: MLflow copies the former to a new folder on every load."""
    match = re.fullmatch(r"runs:/+([^/]+)/([^/]+)/?", model_uri)
    found = match and logged_model(mlflow.get_run(match[1]), match[2])
    return f"models:/{found.model_id}" if found else model_uri


def logged_model(run: Any, name: str = "model") -> Any | None:
    """Returns the newest logged model of that name that an mlflow Run made, None without one."""
    found = mlflow.search_logged_models(
        experiment_ids=[run.info.experiment_id],
        filter_string=f"source_run_id = '{run.info.run_id}' AND name = '{name}'",
        max_results=1,
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        output_format="list",
    )
    return found[0] if found else None
