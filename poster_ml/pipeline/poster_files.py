"""Poster files that a user named: checked, listed as the folders are walked, and scored in batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from poster_ml.data.images import SUFFIXES, is_image_name
from poster_ml.errors import DatasetError, RequestError
from poster_ml.files import printable
from poster_ml.pipeline.prediction_files import COLUMNS
from poster_ml.quiet import load_keras, quiet_libraries
from poster_ml.serving.settings import METADATA_COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame

    from poster_ml.cluster import Client

T = TypeVar("T")
ONE_AT_A_TIME = Lock()  # in one process: a model is loaded once, Keras and Matplotlib have global state

Facts = tuple[Any, Any]  # year and genres, None where they are unknown


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


def read_tables(posters: Sequence[Path]) -> tuple[list[Path], dict[Path, Facts]]:
    """Puts in place of each table (.csv) the posters that it lists.

    A table has a column `image` or `path`, with paths from the folder where it lies, and may have
    `year` and `genres` (`|` between them).

    Returns: the posters, and for those of a table year and genres, None where they are unknown.
    Raises: DatasetError for a table that cannot be read, lists no posters, has a row without an
        image file, or names a poster twice: a row of the answer is known by its path.
    """
    found: list[Path] = []
    facts: dict[Path, Facts] = {}
    for path in posters:
        if path.suffix.lower() != ".csv" or not path.is_file():
            found.append(path)
            continue
        listed = _read_table(path)
        if twice := next((poster for poster in listed if poster in facts), None):
            raise DatasetError(f"{printable(twice)} is in two tables: leave it out of one of them")
        found += listed
        facts |= listed
    return found, facts


def _read_table(path: Path) -> dict[Path, Facts]:
    import pandas as pd

    try:
        # A genre may be called "NA"; only an empty cell is unknown.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # of the encoding, of the form
        reason = str(error).splitlines()[0]
        raise DatasetError(f"the table {path} cannot be read ({reason}): give a CSV file in UTF-8") from error
    column = next((name for name in ("image", "path") if name in table.columns), None)
    if column is None or table.empty:
        columns = ", ".join(map(str, table.columns))
        raise DatasetError(
            f"the table {path} lists no posters, its columns are {columns}: give it a column image or path, "
            "and year, genres if known, with commas between them"
        )
    cells = table.reindex(columns=[column, "year", "genres"], fill_value="")
    listed: dict[Path, Facts] = {}
    for number, (name, year, genres) in enumerate(cells.to_numpy(), start=1):
        poster = path.parent / name
        wrong = "names no image file" if not name.strip() or "://" in name or poster.is_dir() else ""
        if wrong or poster in listed:
            reason = wrong or "names a poster of an earlier row"
            raise DatasetError(
                f"row {number} of the table {path} {reason}, {name!r}: correct it or take it out"
            )
        listed[poster] = (year or None, genres or None)
    return listed


def facts_digest(facts: Mapping[Path, Facts]) -> str:
    """Returns a digest of what tables say of year and genres; "" where there was no table."""
    known = sorted((printable(path), *pair) for path, pair in facts.items())
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16] if known else ""


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


def folders_of(posters: Sequence[Path]) -> list[Path]:
    """Returns the folders that hold the posters, as far as they exist: what workers must see."""
    folders = {path if path.is_dir() else path.parent for path in posters}
    return sorted(folder for folder in folders if folder.is_dir())


@dataclass(frozen=True)
class ScoreTask:
    """Scores a batch of files, in this process or on a worker.

    Attributes:
        load: returns the model, an mlflow PyFuncModel or what has its `predict`; the same every time.
        folder: of the command, which relative paths start from.
        threshold: of the model, for files without an answer.
    """

    load: Callable[[], Any]
    folder: Path
    threshold: float | None

    def __call__(self, items: list[tuple[Path, Facts | None]]) -> DataFrame:
        """Returns the rows of files, of which year and genres may be known, without their names."""
        import pandas as pd

        images, reasons = zip(*(_read(self.folder / path) for path, _ in items), strict=True)
        request = pd.DataFrame({"image": pd.Series(images, dtype=object)})
        if any(facts for _, facts in items):
            known = [facts or (None, None) for _, facts in items]
            request[["year", "genres"]] = pd.DataFrame(known, dtype=object)
        with ONE_AT_A_TIME:
            rows = self.load().predict(request)
        older = {name: None for name in METADATA_COLUMNS if name not in rows}  # a model without them
        errors = [mine or its for mine, its in zip(reasons, rows["error"], strict=True)]
        return rows.assign(**older, error=pd.Series(errors, dtype=object))


def score_files(
    client: Client | None,
    task: ScoreTask,
    files: Iterable[Path],
    batch_size: int,
    facts: Mapping[Path, Facts] | None = None,
) -> Iterator[DataFrame]:
    """Yields the rows of one batch after the other; a file that kills every worker has that as its error.

    Args:
        client: of a cluster; None: in this process, where the next batch is read while this one is scored.
        task: which model.
        files: in the order of the rows.
        batch_size: files per task, at least 1.
        facts: year and genres of some, as from `read_tables`.

    Yields: tables with the columns `prediction_files.COLUMNS`.
    """
    import pandas as pd

    from poster_ml.cluster import KILLED, map_in_order

    known = facts or {}
    items = ((path, known.get(path)) for path in files)
    row = {"threshold": task.threshold, "error": KILLED}
    killed = pd.DataFrame([row], columns=list(COLUMNS), dtype=object)
    options = {"in_flight": 2} if client is None else {}
    for batch, rows in map_in_order(client or 2, task, items, batch=batch_size, **options):
        names = [printable(path) for path, _ in batch]
        yield (killed if rows is None else rows).assign(poster=names)[list(COLUMNS)]


def score_task(model_uri: str, here: bool) -> tuple[ScoreTask, dict[str, Any], list[Path]]:
    """Returns the task that scores with a model, what `identify` says of it, and what workers must see.

    Args:
        model_uri: as for `load_poster_model`.
        here: load the model now, into this process.

    Raises: RegistryError, TrackingError.
    """
    if here:
        load_keras()  # first: the import below would do it loudly
    from poster_ml.serving.load import identify, load_poster_model, read_metadata

    load, paths = locate_model(model_uri, load_poster_model, here)
    identity = identify(load() if here else read_metadata(model_uri), model_uri)
    return ScoreTask(load, Path.cwd(), identity["settings"].get("threshold")), identity, paths


def locate_model(model_uri: str, load: Callable[[str], T], here: bool) -> tuple[Callable[[], T], list[Path]]:
    """Returns how a task gets a model, and what workers must see for it.

    Args:
        model_uri: an alias is looked up once, now: it may move while the work is done.
        load: a function of `serving.load`.
        here: load the model now, into this process; else once in each worker.

    Raises: RegistryError, TrackingError.
    """
    from poster_ml.serving.load import identify, read_metadata
    from poster_ml.tracking.store import connect, experiment_name, needs_store, shared_uri, store_folder

    if here:
        model = open_model(model_uri, load)
        return lambda: model, []
    stored = needs_store(model_uri)
    if stored:
        connect()
    model_id = identify(read_metadata(model_uri), model_uri)["model_id"]
    if not stored:
        folder = Path(model_uri).absolute()
        found = folder.is_dir()
        return partial(_load_once, load, str(folder) if found else model_uri, (), model_id), [folder] * found
    uri = f"models:/{model_id}" if model_id.startswith("m-") else model_uri
    store = shared_uri()
    paths = [store_folder()] if store.startswith("sqlite:") else []
    return partial(_load_once, load, uri, (store, experiment_name()), model_id), paths


def open_model(model_uri: str, load: Callable[[str], T]) -> T:
    """Loads a model with a function of `serving.load`; a folder needs no store."""
    from poster_ml.tracking.store import connect, needs_store

    if needs_store(model_uri):
        connect()
    return load(model_uri)


@lru_cache(maxsize=1)
def _load_once(load: Callable[[str], T], model_uri: str, store: tuple[str, ...], model_id: str) -> T:
    """Loads a model on a worker, which keeps it: `model_id` tells a new one at the same place."""
    load_keras()
    quiet_libraries()
    if store:
        from poster_ml.tracking.store import use_store

        use_store(*store)
    return load(model_uri)


def _read(path: Path) -> tuple[bytes | None, str | None]:
    """Returns a file's content, or why there is none."""
    from poster_ml.data.images import read_bytes

    try:
        return read_bytes(path), None
    except RequestError as error:
        return None, str(error)
