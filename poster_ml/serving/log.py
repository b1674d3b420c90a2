"""Logs a trained network as a model that takes image files, with the code that it needs."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType
from PIL import Image

import poster_ml
from poster_ml.errors import TrackingError
from poster_ml.serving.load import quiet_unless_watched
from poster_ml.serving.options import params_schema
from poster_ml.serving.pyfunc import COLUMNS
from poster_ml.serving.quantize import runtime_requirements
from poster_ml.serving.reference import Reference
from poster_ml.serving.settings import (
    COMPACT_FILE,
    NETWORK_FILE,
    REFERENCE_FOLDER,
    SETTINGS_FILE,
    ServingSettings,
)

# What the served code imports: the network, tables, decoding, the sigmoid, the colours of the maps, the log.
REQUIREMENTS = (
    "mlflow",
    "tensorflow",
    "keras",
    "numpy",
    "pandas",
    "pillow",
    "matplotlib",
    "scipy",
    "scikit-learn",
    "skops",
    "statsmodels",
    "threadpoolctl",
    "concurrent-log-handler",
    "filelock",
)


def log_poster_model(
    keras_model: Any, *, size: int, name: str = "model", reference: Reference | None = None, **settings: Any
) -> Any:
    """Logs the network as a pyfunc model of the active run.

    The package travels with the model, so it loads where poster_ml is not installed; what has to be
    installed there is pinned to the versions in use here. The optimizer's state is left out.

    Args:
        keras_model: uint8 (B, size, size, 3) RGB to logit (B, 1), preprocessing inside.
        size: side of its square input in pixels.
        name: of the logged model.
        reference: other posters, for what a request may ask beside the probability.
        settings: fit, threshold, temperature, variant, family, explain_method and explain_layer, as of
            `ServingSettings`; what is left out has its default there.

    Returns: mlflow's ModelInfo; `.model_uri` is models:/m-....
    Raises: TrackingError where no run is active; ValueError for settings out of range or a network that
        does not fit `size`.
    """
    known = ServingSettings(size=size, **settings)
    _check_shapes(keras_model, size)
    save = partial(save_without_optimizer, keras_model)
    return _log(save, NETWORK_FILE, known, name, REQUIREMENTS, reference)


def log_quantized_model(content: bytes, settings: ServingSettings, name: str = "quantized") -> Any:
    """Logs a quantized network as a pyfunc model of the active run; it needs no Keras where it is served.

    Args:
        content: as `quantize.quantize_network` returns it.
        settings: as of the model that it was made from; temperature and threshold may be its own.
        name: of the logged model.

    Returns, raises: as `log_poster_model`.
    """
    return _log(lambda path: path.write_bytes(content), COMPACT_FILE, settings, name, runtime_requirements())


def _log(
    save: Callable[[Path], Any],
    file_name: str,
    settings: ServingSettings,
    name: str,
    requirements: Sequence[str],
    reference: Reference | None = None,
) -> Any:
    """Logs the model whose network `save` writes to a path."""
    if mlflow.active_run() is None:
        raise TrackingError("no run is active: log the model inside `with mlflow.start_run():`")
    quiet_unless_watched()
    with tempfile.TemporaryDirectory() as folder:
        network_path, settings_path = Path(folder) / file_name, Path(folder) / SETTINGS_FILE
        save(network_path)
        settings.write(settings_path)
        artifacts = {"network": str(network_path), "settings": str(settings_path)}
        if reference is not None:
            reference.save(Path(folder) / REFERENCE_FOLDER)
            artifacts["reference"] = str(Path(folder) / REFERENCE_FOLDER)
        return mlflow.pyfunc.log_model(
            name=name,
            python_model=str(Path(__file__).with_name("entry.py")),
            artifacts=artifacts,
            code_paths=[str(Path(poster_ml.__file__).parent)],
            pip_requirements=[f"{package}=={version(package)}" for package in requirements],
            signature=serving_signature(),
            input_example=input_example(),
            metadata={
                "variant": settings.variant,
                "family": settings.family,
                "settings": asdict(settings),
            },
        )


def save_without_optimizer(keras_model: Any, path: Path) -> None:
    """Saves the network as `.keras`; the optimizer's moments would up to triple the file."""
    import keras

    bare = keras.Model(keras_model.inputs, keras_model.outputs, name=keras_model.name)
    bare.save(path)


def serving_signature() -> Any:
    """Returns the signature: columns in and out of `PosterModel`, and what a request may ask for.

    Year and genres are of any type: one of the wrong type is a note on its row, not the end of the request.
    """
    texts = ("label", "error", "note")
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.string, "image"),
                ColSpec(AnyType(), "year", required=False),
                ColSpec(AnyType(), "genres", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(
                    DataType.string if name in texts else DataType.double, name, required=name == "threshold"
                )
                for name in COLUMNS
            ]
        ),
        params=params_schema(),
    )


def input_example() -> Any:
    """Returns a table with one small drawn picture, as base64 text of a JPEG file."""
    rows, columns = np.mgrid[0:72, 0:48]
    pixels = np.stack([rows * 3, columns * 5, (rows + columns) % 64 * 3], axis=-1).astype(np.uint8)
    pixels[52:60, 6:42] = 240  # a title block
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=80)
    image = base64.b64encode(buffer.getvalue()).decode("ascii")
    return pd.DataFrame({"image": [image], "year": [1999], "genres": ["Drama"]})


def _check_shapes(keras_model: Any, size: int) -> None:
    expected = (None, size, size, 3)
    if tuple(keras_model.input_shape) != expected:
        raise ValueError(f"the network takes {keras_model.input_shape}, expected {expected} for {size=}")
    if tuple(keras_model.output_shape) != (None, 1):
        raise ValueError(f"the network returns {keras_model.output_shape}, expected one logit (None, 1)")
