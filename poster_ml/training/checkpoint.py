"""The state of a training run on disk: written whole after every epoch, read back by `--resume`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from poster_ml.errors import TrackingError
from poster_ml.files import atomic_path

STATE = "state.npz"
BEST = "best.npz"


def save_state(folder: Path, model: Any, history: Sequence[dict[str, float]], identity: str) -> None:
    """Writes weights, optimiser and history of a run in one atomic file.

    Args:
        folder: where the run keeps its checkpoints.
        model: the compiled network as it stands after an epoch.
        history: one dict of metrics per finished epoch.
        identity: a digest of everything the run depends on; resuming checks it.
    """
    arrays = _arrays("model", model.variables) | _arrays("optimizer", model.optimizer.variables)
    _write(folder / STATE, arrays, {"history": list(history), "identity": identity})


def load_state(folder: Path, identity: str) -> tuple[dict[str, np.ndarray], list[dict[str, float]]] | None:
    """Reads what `save_state` wrote.

    Returns: (arrays, history), or None where nothing was saved yet.

    Raises: TrackingError where the file is damaged or belongs to another configuration.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop("about").item())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrackingError(f"checkpoint {path} is damaged ({error}); delete it to start anew") from error
    if about["identity"] != identity:
        raise TrackingError(
            f"checkpoint {path} belongs to another configuration or dataset; "
            "resume with the one it was started with, or start a new run"
        )
    return arrays, about["history"]


def restore_state(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Puts weights and optimiser state back into a compiled network."""
    model.optimizer.build(model.trainable_variables)
    restore_weights(model, arrays)
    _assign(model.optimizer.variables, "optimizer", arrays)


def restore_weights(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Puts the weights alone back: where the next phase begins with an optimiser of its own."""
    _assign(model.variables, "model", arrays)


def save_best(folder: Path, model: Any, epoch: int) -> None:
    """Writes the weights alone, as those of the epoch to keep (counted from 1)."""
    _write(folder / BEST, _arrays("model", model.variables), {"epoch": epoch})


def restore_best(folder: Path, model: Any) -> int:
    """Puts the kept epoch's weights into the network and returns its number, counted from 1."""
    with np.load(folder / BEST, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    about = json.loads(arrays.pop("about").item())
    _assign(model.variables, "model", arrays)
    return int(about["epoch"])


def _arrays(prefix: str, variables: Sequence[Any]) -> dict[str, np.ndarray]:
    values = (keras.ops.convert_to_numpy(variable) for variable in variables)
    return {f"{prefix}.{index}": value for index, value in enumerate(values)}


def _assign(variables: Sequence[Any], prefix: str, arrays: dict[str, np.ndarray]) -> None:
    for index, variable in enumerate(variables):
        variable.assign(arrays[f"{prefix}.{index}"])


def _write(path: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
