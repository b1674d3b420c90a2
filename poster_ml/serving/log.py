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
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from PIL import Image

import poster_ml
from poster_ml.errors import TrackingError
from poster_ml.serving.quantize import runtime_requirements
from poster_ml.serving.settings import COMPACT_FILE, NETWORK_FILE, SETTINGS_FILE, ServingSettings

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
    "concurrent-log-handler",
    "filelock",
)


def log_poster_model(keras_model: Any, *, size: int, name: str = "model", **settings: Any) -> Any:
    """Logs the network as a pyfunc model of the active run.

    The package travels with the model, so it loads where poster_ml is not installed; what has to be
    installed there is pinned to the versions in use here. The optimizer's state is left out.

    Args:
        keras_model: uint8 (B, size, size, 3) RGB to logit (B, 1), preprocessing inside.
        size: side of its square input in pixels.
        name: of the logged model.
        settings: fit, threshold, temperature, variant, family, explain_method and explain_layer, as of
            `ServingSettings`; what is left out has its default there.

    Returns: mlflow's ModelInfo; `.model_uri` is models:/m-....
    Raises: TrackingError where no run is active; ValueError for settings out of range or a network that
        does not fit `size`.
    """
    known = ServingSettings(size=size, **settings)
    _check_shapes(keras_model, size)
    save = partial(save_without_optimizer, keras_model)
    return _log(save, NETWORK_FILE, known, name, REQUIREMENTS)


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
) -> Any:
    """Logs the model whose network `save` writes to a path."""
    if mlflow.active_run() is None:
        raise TrackingError("no run is active: log the model inside `with mlflow.start_run():`")
    with tempfile.TemporaryDirectory() as folder:
        network_path, settings_path = Path(folder) / file_name, Path(folder) / SETTINGS_FILE
        save(network_path)
        settings.write(settings_path)
        return mlflow.pyfunc.log_model(
            name=name,
            python_model=str(Path(__file__).with_name("entry.py")),
            artifacts={"network": str(network_path), "settings": str(settings_path)},
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
    """Returns the signature: a text column in, the columns of `PosterModel` out, one switch."""
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image")]),
        outputs=Schema(
            [
                ColSpec(DataType.double, "probability_fresh", required=False),
                ColSpec(DataType.string, "label", required=False),
                ColSpec(DataType.double, "threshold"),
                ColSpec(DataType.string, "error", required=False),
            ]
        ),
        params=ParamSchema([ParamSpec("explain", DataType.boolean, default=False)]),
    )


def input_example() -> Any:
    """Returns a table with one small drawn picture, as base64 text of a JPEG file."""
    rows, columns = np.mgrid[0:72, 0:48]
    pixels = np.stack([rows * 3, columns * 5, (rows + columns) % 64 * 3], axis=-1).astype(np.uint8)
    pixels[52:60, 6:42] = 240  # a title block
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=80)
    return pd.DataFrame({"image": [base64.b64encode(buffer.getvalue()).decode("ascii")]})


def _check_shapes(keras_model: Any, size: int) -> None:
    expected = (None, size, size, 3)
    if tuple(keras_model.input_shape) != expected:
        raise ValueError(f"the network takes {keras_model.input_shape}, expected {expected} for {size=}")
    if tuple(keras_model.output_shape) != (None, 1):
        raise ValueError(f"the network returns {keras_model.output_shape}, expected one logit (None, 1)")
