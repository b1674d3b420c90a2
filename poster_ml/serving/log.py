"""Logs a trained network as a model that takes image files, with the code that it needs."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
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
from poster_ml.serving.options import params_schema
from poster_ml.serving.quantize import runtime_requirements
from poster_ml.serving.reference import Reference
from poster_ml.serving.settings import (
    COLUMNS,
    COMPACT_FILE,
    NETWORK_FILE,
    REFERENCE_FOLDER,
    SETTINGS_FILE,
    SHARED_REQUIREMENTS,
    ServingSettings,
)

# Keras and its backend for the network, matplotlib for the colours of the maps.
REQUIREMENTS = ("mlflow", "tensorflow", "keras", "matplotlib", *SHARED_REQUIREMENTS)


def log_poster_model(
    keras_model: Any, *, size: int, reference: Reference | None = None, **settings: Any
) -> Any:
    """Logs the network as a pyfunc model named `model` of the active run.

    The package travels with the model, so it loads where poster_ml is not installed; what has to be
    installed there is pinned to the versions in use here. The optimizer's state is left out.

    Args:
        keras_model: uint8 (B, size, size, 3) RGB to logit (B, 1), preprocessing inside.
        size: side of its square input in pixels.
        reference: other posters, for what a request may ask beside the probability.
        settings: fit, threshold, temperature, variant, family, explain_method and explain_layer, as
            of `ServingSettings`; what is left out has its default there.

    Returns: mlflow's ModelInfo; `.model_uri` is models:/m-....
    Raises: TrackingError where no run is active; ValueError for settings out of range or a network
        that does not fit `size`.
    """
    import keras

    known = ServingSettings(size=size, **settings)
    if tuple(keras_model.input_shape) != (None, size, size, 3):
        raise ValueError(f"the network takes {keras_model.input_shape}, not (None, {size}, {size}, 3)")
    if tuple(keras_model.output_shape) != (None, 1):
        raise ValueError(f"the network returns {keras_model.output_shape}, not one logit (None, 1)")
    # The optimizer's moments would up to triple the file.
    bare = keras.Model(keras_model.inputs, keras_model.outputs, name=keras_model.name)
    with tempfile.TemporaryDirectory() as folder:
        bare.save(Path(folder) / NETWORK_FILE)
        return _log(Path(folder) / NETWORK_FILE, known, "model", REQUIREMENTS, reference)


def log_quantized_model(content: bytes, settings: ServingSettings, reference: Reference) -> Any:
    """Logs a quantized network as a model named `quantized`; it needs no Keras where it is served.

    Args:
        content: as `quantize.quantize_network` returns it.
        settings: as of the model that it was made from; temperature and threshold may be its own.
        reference: other posters, as it scores them; neighbours it has none, since it shows no features.

    Returns, raises: as `log_poster_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / COMPACT_FILE
        path.write_bytes(content)
        return _log(path, settings, "quantized", runtime_requirements(), reference)


def _log(
    network: Path,
    settings: ServingSettings,
    name: str,
    requirements: Sequence[str],
    reference: Reference | None,
) -> Any:
    """Logs the model whose network lies in a file; its settings are written beside it."""
    if mlflow.active_run() is None:
        raise TrackingError("no run is active: log the model inside `with mlflow.start_run():`")
    settings.write(network.with_name(SETTINGS_FILE))
    artifacts = {"network": str(network), "settings": str(network.with_name(SETTINGS_FILE))}
    if reference is not None:
        artifacts["reference"] = str(network.with_name(REFERENCE_FOLDER))
        reference.save(network.with_name(REFERENCE_FOLDER))
    return mlflow.pyfunc.log_model(
        name=name,
        python_model=str(Path(__file__).with_name("entry.py")),
        artifacts=artifacts,
        code_paths=[str(Path(poster_ml.__file__).parent)],
        pip_requirements=[f"{package}=={version(package)}" for package in requirements],
        signature=_signature(),
        input_example=_input_example(),
        metadata={"settings": asdict(settings)},
    )


def _signature() -> ModelSignature:
    """Columns in and out of `PosterModel`, and what a request may ask for.

    Year and genres are of any type: one of the wrong type is a note on its row, not the end of the request.
    """
    inputs = [ColSpec(DataType.string, "image")]
    inputs += [ColSpec(AnyType(), name, required=False) for name in ("year", "genres")]
    outputs = [
        ColSpec(
            DataType.string if name in ("label", "error", "note") else DataType.double,
            name,
            required=name == "threshold",
        )
        for name in COLUMNS
    ]
    return ModelSignature(Schema(inputs), Schema(outputs), params_schema())


def _input_example() -> Any:
    """Returns a table with one small drawn picture, as base64 text of a JPEG file."""
    rows, columns = np.mgrid[0:72, 0:48]
    pixels = np.stack([rows * 3, columns * 5, (rows + columns) % 64 * 3], axis=-1).astype(np.uint8)
    pixels[52:60, 6:42] = 240  # a title block
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=80)
    image = base64.b64encode(buffer.getvalue()).decode("ascii")
    return pd.DataFrame({"image": [image], "year": [1999], "genres": ["Drama"]})
