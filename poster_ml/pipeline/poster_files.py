"""Poster files that a user named: checked, listed as the folders are walked, and scored in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from poster_ml.data.image_kinds import SUFFIXES, is_image_name
from poster_ml.errors import DatasetError, RequestError
from poster_ml.files import printable
from poster_ml.pipeline.prediction_files import COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame

    from poster_ml.cluster import Client

_ONE_AT_A_TIME = Lock()  # in one worker process: the model is loaded once


def check_posters(posters: Sequence[Path]) -> None:
    """Refuses what cannot be scored before a model is loaded.

    Raises: DatasetError naming the missing path, or the folder without images.
    """
    if not posters:
        raise DatasetError("no poster was named: give image files or folders")
    for path in posters:
        if not path.exists():
            raise DatasetError(f"no file or folder {path}: give image files or folders")
        if path.is_dir() and next(_walk(path), None) is None:
            raise DatasetError(f"the folder {path} has no image: files must end in {', '.join(SUFFIXES)}")


def walk_posters(posters: Sequence[Path]) -> Iterator[Path]:
    """Yields every image file once, one folder's names in memory at a time, in the order of the names."""
    folders = {path for path in posters if path.is_dir()}
    for path in dict.fromkeys(posters):
        inside = not folders.isdisjoint(path.parents)
        if path in folders:
            yield from () if inside else _walk(path)
        elif not (inside and is_image_name(path.name)):
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        # Links to folders are not followed: they may lead in circles.
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in names:
        if is_folder:
            yield from _walk(folder / name)
        elif is_image_name(name):
            yield folder / name


def score_files(model: Any, files: Iterable[Path], batch_size: int) -> Iterator[DataFrame]:
    """Yields the rows of one batch after the other; the next batch is read while this one is scored.

    Args:
        model: an mlflow PyFuncModel, or anything with its `predict`.
        files: in the order of the rows.
        batch_size: of them in memory, at least 1; as many are read ahead.

    Returns: tables with the columns `prediction_files.COLUMNS`.
    """
    import pandas as pd

    iterator = iter(files)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        upcoming = reader.submit(_read_batch, iterator, batch_size)
        while batch := upcoming.result():
            upcoming = reader.submit(_read_batch, iterator, batch_size)
            paths, images, reasons = zip(*batch, strict=True)
            rows = model.predict(pd.DataFrame({"image": pd.Series(images, dtype=object)}))
            errors = [mine or its for mine, its in zip(reasons, rows["error"], strict=True)]
            names = [printable(path) for path in paths]
            rows = rows.assign(poster=names, error=pd.Series(errors, dtype=object))
            yield rows[list(COLUMNS)]


@dataclass(frozen=True)
class ScoreTask:
    """Scores a batch of files on a worker, whose process loads the model once.

    Attributes:
        model_uri: of a model that does not move.
        store: URI and experiment of the command, empty where the model needs no store.
        folder: of the command, which relative paths start from.
        threshold: of the model, for files without an answer.
    """

    model_uri: str
    store: tuple[str, ...]
    folder: Path
    threshold: float | None

    def __call__(self, files: list[Path]) -> DataFrame:
        """Returns their rows."""
        with _ONE_AT_A_TIME:
            model = _load_once(self.model_uri, self.store)
        return next(score_files(model, [self.folder / path for path in files], len(files)))


def score_task(model_uri: str) -> tuple[ScoreTask, dict[str, Any], list[Path]]:
    """Returns the task that scores with a model, what `identify` says of it, and what workers must see.

    Raises: RegistryError, TrackingError.
    """
    from poster_ml.serving.load import identify, read_metadata

    uri, store, paths = locate_model(model_uri)
    identity = identify(read_metadata(model_uri), model_uri)
    if store and identity["model_id"].startswith("m-"):
        uri = f"models:/{identity['model_id']}"  # an alias may move while the work is done
    return ScoreTask(uri, store, Path.cwd(), identity["settings"].get("threshold")), identity, paths


def locate_model(model_uri: str) -> tuple[str, tuple[str, ...], list[Path]]:
    """Returns how workers find a model.

    Returns: its URI or absolute folder; URI and experiment of the store, where it needs one; what they must
        see.
    Raises: TrackingError.
    """
    from poster_ml.tracking.store import connect, experiment_name, needs_store, shared_uri, store_folder

    if not needs_store(model_uri):
        folder = Path(model_uri).absolute()
        return (str(folder), (), [folder]) if folder.is_dir() else (model_uri, (), [])
    connect()
    store = shared_uri()
    return model_uri, (store, experiment_name()), [store_folder()] if store.startswith("sqlite:") else []


@lru_cache(maxsize=1)
def _load_once(model_uri: str, store: tuple[str, ...]) -> Any:
    from poster_ml.quiet import load_keras, quiet_libraries

    load_keras()
    quiet_libraries()
    from poster_ml.serving.load import load_poster_model
    from poster_ml.tracking.store import use_store

    if store:
        use_store(*store)
    return load_poster_model(model_uri)


def score_on_cluster(
    client: Client, task: ScoreTask, files: Iterable[Path], batch_size: int
) -> Iterator[DataFrame]:
    """Yields rows as `score_files` does; a file that kills every worker has that as its error.

    Args:
        client: of the cluster.
        task: which model.
        files: in the order of the rows.
        batch_size: files per task.
    """
    import pandas as pd

    from poster_ml.cluster import KILLED, map_in_order

    killed = {"probability_fresh": None, "label": None, "threshold": task.threshold, "error": KILLED}
    for batch, rows in map_in_order(client, task, files, batch=batch_size):
        table = pd.DataFrame([killed]) if rows is None else rows
        yield table.assign(poster=[printable(path) for path in batch])[list(COLUMNS)]


def _read_batch(files: Iterator[Path], count: int) -> list[tuple[Path, bytes | None, str | None]]:
    """Reads some files: path, content, and why there is none."""
    from poster_ml.data.images import read_bytes

    batch: list[tuple[Path, bytes | None, str | None]] = []
    for path in islice(files, count):
        try:
            batch.append((path, read_bytes(path), None))
        except RequestError as error:
            batch.append((path, None, str(error)))
    return batch
