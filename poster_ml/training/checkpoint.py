"""The state of a training run on disk: written whole after every epoch, read back by `--resume`.

A folder holds `state.npz` and `best-<epoch>.npz`, the weights to keep. The state names the best
file that belongs to it, and an older one is removed only after the state was replaced: a kill
between any two steps leaves a state and the best weights of the same history.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from filelock import FileLock, Timeout

from poster_ml.errors import TrackingError
from poster_ml.files import atomic_path, remove_leftovers

STATE = "state.npz"

Arrays = dict[str, np.ndarray]


@contextmanager
def run_lock(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Keeps other processes out of a run's checkpoints; removes what killed ones left half written.

    Args:
        folder: where the run keeps its checkpoints.
        name: of the lock; one process may hold several.

    Raises: TrackingError where another process trains the same run now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:  # the operating system takes the lock back when the process dies, however it dies
        held = FileLock(folder / name).acquire(timeout=0)
    except Timeout as error:
        raise TrackingError(
            f"another process trains into {folder} now: wait for it to end, or start a new run"
        ) from error
    with held:
        remove_leftovers(folder, [".npz"])
        yield


def save_state(
    folder: Path, model: Any, history: Sequence[dict[str, float]], identity: str, best_epoch: int
) -> None:
    """Writes weights, optimiser and history of a run in one atomic file.

    Args:
        folder: where the run keeps its checkpoints.
        model: the compiled network as it stands after an epoch.
        history: one dict of metrics per finished epoch.
        identity: a digest of everything the run depends on; resuming checks it.
        best_epoch: the epoch, counted from 1, whose weights `save_best` wrote; the other ones go.

    Raises: TrackingError where the file cannot be written; the state before it stays.
    """
    optimizer = _numbered("optimizer", model.optimizer.variables)
    about = {"history": list(history), "identity": identity, "best_epoch": best_epoch}
    _write(folder / STATE, _weights(model) | optimizer, about)
    for file in folder.glob("best-*.npz"):
        if file != _best(folder, best_epoch):
            file.unlink(missing_ok=True)


def load_state(folder: Path, identity: str) -> tuple[Arrays, list[dict[str, float]]]:
    """Reads what `save_state` wrote.

    Returns: arrays by name, and one dict of metrics per finished epoch; both empty where nothing was saved.
    Raises: TrackingError where the file is damaged or belongs to another configuration.
    """
    path = folder / STATE
    if not path.is_file():
        return {}, []
    arrays, about = _read(path)
    if about["identity"] != identity:
        raise TrackingError(
            f"checkpoint {path} belongs to another configuration or dataset, or to another backend, "
            "precision or version of the code (the run's tags say which); resume with what it was started "
            "with, or start a new run"
        )
    return arrays, about["history"]


def restore_state(model: Any, arrays: Arrays) -> None:
    """Puts weights and optimiser state back into a compiled network."""
    model.optimizer.build(model.trainable_variables)
    restore_weights(model, arrays)
    for index, variable in enumerate(model.optimizer.variables):
        _assign(variable, f"optimizer/{index}", arrays)


def restore_weights(model: Any, arrays: Arrays) -> None:
    """Puts the weights alone back: where the next phase begins with an optimiser of its own.

    Layers are found by name. A frozen one that the checkpoint lacks keeps its weights: the part
    above a cached prefix can be taken up by the whole network, and the other way round.
    """
    for layer in model.layers:
        for index, variable in enumerate(layer.weights):
            name = f"weights/{layer.name}/{index}"
            if variable.trainable or name in arrays:
                _assign(variable, name, arrays)


def save_best(folder: Path, model: Any, epoch: int) -> None:
    """Writes the weights alone, as those of the epoch to keep (counted from 1).

    Raises: TrackingError where the file cannot be written.
    """
    _write(_best(folder, epoch), _weights(model), {})


def restore_best(folder: Path, model: Any) -> int:
    """Puts the kept epoch's weights into the network and returns its number, counted from 1.

    Raises: TrackingError where a file is missing or damaged.
    """
    _, state = _read(folder / STATE)
    arrays, _ = _read(_best(folder, state["best_epoch"]))
    restore_weights(model, arrays)
    return int(state["best_epoch"])


def _best(folder: Path, epoch: int) -> Path:
    return folder / f"best-{epoch}.npz"


def _weights(model: Any) -> Arrays:
    """All weights by layer. Random layers' generators are no part: they are set anew for every epoch."""
    arrays: Arrays = {}
    for layer in model.layers:
        arrays |= _numbered(f"weights/{layer.name}", layer.weights)
    return arrays


def _numbered(name: str, variables: Sequence[Any]) -> Arrays:
    return {f"{name}/{index}": keras.ops.convert_to_numpy(value) for index, value in enumerate(variables)}


def _assign(variable: Any, name: str, arrays: Arrays) -> None:
    stored = arrays.get(name)
    if stored is None or stored.shape != tuple(variable.shape):
        found = "nothing" if stored is None else f"shape {stored.shape}"
        raise TrackingError(
            f"the checkpoint does not fit the network: {name} should have shape {tuple(variable.shape)}, "
            f"found {found}; it was written by another version: start a new run"
        )
    variable.assign(stored)


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return arrays, json.loads(arrays.pop("about").item())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrackingError(f"checkpoint {path} is damaged ({error}); delete it to start anew") from error


def _write(path: Path, arrays: Arrays, about: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
    except OSError as error:
        megabytes = sum(value.nbytes for value in arrays.values()) / 1e6
        raise TrackingError(
            f"checkpoint {path} of {megabytes:.0f} MB could not be written ({error.strerror}): "
            "free some disk and resume the run, its last epoch is kept"
        ) from error
