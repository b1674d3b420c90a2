"""`poster-ml predict`: probabilities for files and folders, of any number, in constant memory.

Files are listed as the folders are walked, read in batches while the batch before is scored, and written at
once. The model is the one that is served (`PosterModel`), so the numbers are the server's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from poster_ml.data.image_kinds import SUFFIXES, is_image_name
from poster_ml.errors import DatasetError, RequestError
from poster_ml.files import printable
from poster_ml.pipeline.prediction_files import (
    FORMATS,
    Row,
    append_csv,
    check_same_model,
    read_scored,
    write_record,
)
from poster_ml.progress import progress

logger = logging.getLogger(__name__)

BATCH_SIZE = 64


class Scorer(Protocol):
    """What scores: an mlflow PyFuncModel, or anything with its `predict`."""

    def predict(self, data: Any) -> Any:
        """Takes a table with the column `image`, gives a table with the columns of `PosterModel`."""


@dataclass(frozen=True)
class PredictResult:
    """What was done: files scored now, of them failed, and files left alone since they had a row already."""

    scored: int
    failed: int
    resumed: int
    out: Path | None

    def text(self) -> str:
        """Returns what was done in one line."""
        before = f", {self.resumed:,} had a row before" if self.resumed else ""
        where = f": {self.out}" if self.out else ""
        return f"{self.scored:,} posters, {self.failed:,} of them could not be scored{before}{where}"


@dataclass
class Tally:
    """Counts rows while they pass by; `reason` is the last row's error."""

    scored: int = 0
    failed: int = 0
    reason: str | None = None

    def count(self, batches: Iterable[list[Row]]) -> Iterator[list[Row]]:
        """Yields the batches as they are; a batch is counted once it was taken care of."""
        for rows in batches:
            yield rows
            self.scored += len(rows)
            self.failed += sum(row.error is not None for row in rows)
            self.reason = rows[-1].error


def run_predict(
    model_uri: str,
    posters: Sequence[Path],
    *,
    format: str = "table",
    out: Path | None = None,
    resume: bool = True,
    batch_size: int = BATCH_SIZE,
) -> PredictResult:
    """Scores posters.

    Args:
        model_uri: as for `load_poster_model`; a folder needs no store.
        posters: files and folders; folders are walked with everything below them. Files named themselves
            are scored whatever they are called, in folders only what has the ending of an image.
        format: "table", "csv" or "json" (an array, one object per line) on stdout.
        out: a .csv file instead, written while the posters are scored; a path that is scored already is not
            scored again. Posters are known by the path as given (`files.printable`). Beside it stands
            `<out>.json`, which says which model made the rows.
        resume: False starts `out` afresh; True adds to what the same model wrote.
        batch_size: files per forward pass, at least 1.

    Raises: DatasetError for what is missing, has no image, cannot be written or holds the rows of
        another model; OutputError where `out` holds something else; RegistryError for the model.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size=}")
    if format not in FORMATS:
        raise DatasetError(f"--format must be one of {', '.join(FORMATS)}, received {format!r}")
    check_posters(posters)
    known, size = read_scored(out) if out else (set[str](), 0)
    if not resume:
        known, size = set(), 0
    from poster_ml.serving.identity import identify
    from poster_ml.serving.load import load_poster_model
    from poster_ml.tracking.store import connect, needs_store

    if needs_store(model_uri):
        connect()
    model = load_poster_model(model_uri)
    left = (path for path in walk_posters(posters) if printable(path) not in known)
    # Listed twice, so that the time left is known without keeping the names.
    total = sum(printable(path) not in known for path in walk_posters(posters))
    tally = Tally()
    batches = tally.count(score_files(model, progress(left, "scoring posters", total), batch_size))
    if out is None:
        FORMATS[format](batches)
    else:
        identity = identify(model, model_uri)
        if known:
            check_same_model(out, identity)
        else:
            write_record(out, identity)
        append_csv(batches, out, size)
    result = PredictResult(tally.scored, tally.failed, len(known), out)
    logger.info("%s", result.text())
    if tally.scored and tally.failed == tally.scored:
        raise DatasetError(
            f"none of {tally.scored:,} posters could be scored, the last one since {tally.reason}: "
            "give whole image files"
        )
    return result


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
            endings = ", ".join(SUFFIXES)
            raise DatasetError(f"the folder {path} has no image: files must end in {endings}")


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


def score_files(model: Scorer, files: Iterable[Path], batch_size: int) -> Iterator[list[Row]]:
    """Yields the rows of one batch after the other; the next batch is read while this one is scored."""
    iterator = iter(files)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        upcoming = reader.submit(_read_batch, iterator, batch_size)
        while True:
            batch = upcoming.result()
            if not batch:
                return
            upcoming = reader.submit(_read_batch, iterator, batch_size)
            yield _score_batch(model, batch)


def _read_batch(files: Iterator[Path], count: int) -> list[tuple[Path, bytes | RequestError]]:
    from poster_ml.data.images import read_bytes

    batch: list[tuple[Path, bytes | RequestError]] = []
    for path in islice(files, count):
        try:
            batch.append((path, read_bytes(path)))
        except RequestError as error:
            batch.append((path, error))
    return batch


def _score_batch(model: Scorer, batch: list[tuple[Path, bytes | RequestError]]) -> list[Row]:
    import pandas as pd

    readable = [data for _, data in batch if isinstance(data, bytes)]
    table = model.predict(pd.DataFrame({"image": pd.Series(readable, dtype=object)})) if readable else None
    scored = iter(table.itertuples(index=False)) if table is not None else iter(())
    rows = []
    for path, data in batch:
        if isinstance(data, RequestError):
            rows.append(Row(printable(path), None, None, None, str(data)))
            continue
        one = next(scored)
        rows.append(Row(printable(path), one.probability_fresh, one.label, one.threshold, one.error))
    return rows
