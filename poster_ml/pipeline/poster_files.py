"""Poster files that a user named: checked, listed as the folders are walked, and scored in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poster_ml.data.image_kinds import SUFFIXES, is_image_name
from poster_ml.errors import DatasetError, RequestError
from poster_ml.files import printable
from poster_ml.pipeline.prediction_files import COLUMNS
from poster_ml.serving.settings import METADATA_COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame


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


def read_tables(posters: Sequence[Path]) -> tuple[list[Path], dict[Path, tuple[Any, Any]]]:
    """Puts in place of each table (.csv) the posters that it lists.

    A table has a column `image` or `path`, with paths from the folder where it lies, and may have `year` and
    `genres` (`|` between them).

    Returns: the posters, and for those of a table year and genres, None where they are unknown.
    Raises: DatasetError for a table that cannot be read or lists no posters.
    """
    found: list[Path] = []
    facts: dict[Path, tuple[Any, Any]] = {}
    for path in posters:
        if path.suffix.lower() != ".csv" or not path.is_file():
            found.append(path)
            continue
        listed = _read_table(path)
        found += listed
        facts |= listed
    return found, facts


def _read_table(path: Path) -> dict[Path, tuple[Any, Any]]:
    import pandas as pd

    try:
        # A genre may be called "NA"; only an empty cell is unknown.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # of the encoding, of the form
        reason = str(error).splitlines()[0]
        raise DatasetError(f"the table {path} cannot be read ({reason}): give a CSV file in UTF-8") from error
    column = next((name for name in ("image", "path") if name in table.columns), None)
    if column is None or table.empty:
        raise DatasetError(
            f"the table {path} lists no posters: give it a column image or path; year, genres if known"
        )
    cells = table.reindex(columns=[column, "year", "genres"], fill_value="")
    return {path.parent / name: (year or None, genres or None) for name, year, genres in cells.to_numpy()}


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


def score_files(
    model: Any, files: Iterable[Path], batch_size: int, facts: Mapping[Path, tuple[Any, Any]] | None = None
) -> Iterator[DataFrame]:
    """Yields the rows of one batch after the other; the next batch is read while this one is scored.

    Args:
        model: an mlflow PyFuncModel, or anything with its `predict`.
        files: in the order of the rows.
        batch_size: of them in memory, at least 1; as many are read ahead.
        facts: year and genres of some, as from `read_tables`.

    Returns: tables with the columns `prediction_files.COLUMNS`.
    """
    import pandas as pd

    iterator = iter(files)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        upcoming = reader.submit(_read_batch, iterator, batch_size)
        while batch := upcoming.result():
            upcoming = reader.submit(_read_batch, iterator, batch_size)
            paths, images, reasons = zip(*batch, strict=True)
            request = pd.DataFrame({"image": pd.Series(images, dtype=object)})
            if facts:
                known = [facts.get(path, (None, None)) for path in paths]
                request[["year", "genres"]] = pd.DataFrame(known, dtype=object)
            rows = model.predict(request)
            older = {name: None for name in METADATA_COLUMNS if name not in rows}  # a model without them
            rows = rows.assign(**older)
            errors = [mine or its for mine, its in zip(reasons, rows["error"], strict=True)]
            names = [printable(path) for path in paths]
            rows = rows.assign(poster=names, error=pd.Series(errors, dtype=object))
            yield rows[list(COLUMNS)]


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
