"""An optional log of what was scored: numbers about each poster, never the poster itself.

One JSON object per line and poster, appended by `concurrent-log-handler` under a lock that all
worker processes share, so that lines of several workers never mix. The file is bounded: from a size
on it is renamed to `<log>.1`, that one to `<log>.2`, and the oldest goes. A log that cannot be
written costs a warning, never an answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from concurrent_log_handler import ConcurrentRotatingFileHandler
from PIL import Image

from poster_ml.errors import DatasetError, OutputError, RegistryError
from poster_ml.files import begins_with, check_output_file

logger = logging.getLogger(__name__)

PATH_VARIABLE = "POSTER_ML_PREDICTION_LOG"
SIZE_VARIABLE = "POSTER_ML_PREDICTION_LOG_MB"
FILES_VARIABLE = "POSTER_ML_PREDICTION_LOG_FILES"
DEFAULT_MEGABYTES, DEFAULT_FILES = 64, 5
GRID = 32  # statistics are those of area averages, so that networks of different input sizes agree
STATISTICS = ("brightness", "contrast", "saturation")
KEY_DIGITS = 16  # of the file's SHA-256: tells posters apart
_COLUMNS = ("time", "model", "poster", *STATISTICS, "width", "height", "file_bytes", "probability", "error")
_LONGEST_ERROR = 80
_is_log = begins_with('{"time": "')  # also a first line that was cut off

Pixels = npt.NDArray[np.uint8]


def input_statistics(pixels: Pixels) -> dict[str, float]:
    """Measures one poster as the network sees it, averaged to 32 x 32.

    Args:
        pixels: (S, S, 3) uint8 RGB.

    Returns: brightness, the mean luma in [0, 1] (Rec. 601); contrast, its standard deviation, in
        [0, .5]; saturation, the mean of (max - min) / max over the channels, in [0, 1].
    """
    small = Image.fromarray(pixels).resize((GRID, GRID), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32) / 255
    luma = values @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    highest, lowest = values.max(axis=-1), values.min(axis=-1)
    saturation = (highest - lowest) / np.maximum(highest, 1e-6)
    measured = (luma.mean(), luma.std(), saturation.mean())
    return {name: round(float(value), 5) for name, value in zip(STATISTICS, measured, strict=True)}


class _Rotating(ConcurrentRotatingFileHandler):
    """Appends whole lines and leaves errors to the caller."""

    def do_write(self, msg: str) -> None:
        """Writes under the lock; a line that a full disk cut off must not take the next one with it."""
        path = Path(self.baseFilename)
        if path.exists() and path.stat().st_size:
            with path.open("rb") as handle:
                handle.seek(-1, os.SEEK_END)
                msg = msg if handle.read(1) == b"\n" else "\n" + msg
        super().do_write(msg)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Raises what `emit` caught, which would be a traceback on stderr otherwise."""
        raise  # noqa: PLE0704 - called while the exception is handled


class PredictionLog:
    """Appends entries to a file that never grows beyond its bound.

    Args:
        path: the file; its folder is made. A hidden `.lock` file beside it is the lock.
        max_bytes: of one file, at least 1; the last write to a file may exceed it by its own length.
        files: how many are kept, the one being written included, at least 1.
        model: id of the model, written with every entry.
    """

    def __init__(self, path: Path, max_bytes: int, files: int, model: str = "") -> None:
        self.path, self.max_bytes, self.files, self.model = path, max_bytes, files, model
        self.warned = False
        self._handler = _Rotating(
            str(path), maxBytes=max_bytes, backupCount=files - 1, encoding="utf-8", newline=""
        )

    @classmethod
    def from_environment(cls, model: str = "") -> PredictionLog | None:
        """Returns the log that the environment asks for, None where it asks for none.

        Raises: RegistryError for a size or number of files that cannot be; OutputError where the
            file, or one that it would be renamed to, holds something else.
        """
        path = os.environ.get(PATH_VARIABLE, "").strip()
        if not path:
            return None
        sizes = []
        for name, default in ((SIZE_VARIABLE, DEFAULT_MEGABYTES), (FILES_VARIABLE, DEFAULT_FILES)):
            text = os.environ.get(name, "").strip() or str(default)
            if not text.isdigit() or int(text) < 1:
                raise RegistryError(f"{name} must be a whole number of at least 1, got {text!r}")
            sizes.append(int(text))
        log = cls(Path(path), sizes[0] * 1_000_000, sizes[1], model)
        log.check()
        return log

    def check(self) -> None:
        """Makes sure that all files of the log are new or its own. Raises: OutputError."""
        for number in range(self.files):
            path = self.path.with_name(f"{self.path.name}.{number}") if number else self.path
            check_output_file(path, _is_log, "prediction log", PATH_VARIABLE)

    def write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Appends the entries, each with the time and the model; a failure is warned of once."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = [json.dumps({"time": now, "model": self.model, **entry}) for entry in entries]
        try:
            self.check()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handler.handle(logging.makeLogRecord({"msg": "\n".join(lines)}))
        except (OSError, OutputError, RuntimeError) as error:  # RuntimeError: the lock cannot be had
            if not self.warned:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                logger.warning(
                    "the prediction log %s cannot be written (%s): scoring continues", self.path, reason
                )
            self.warned = True


def input_facts(data: bytes, width: int, height: int, pixels: Pixels) -> dict[str, Any]:
    """Returns what the log says about an image that was decoded.

    Args:
        data: its file. width, height: of the source, upright. pixels: (S, S, 3) uint8.
    """
    shape = {"file_bytes": len(data), "width": width, "height": height}
    return {"poster": hashlib.sha256(data).hexdigest()[:KEY_DIGITS], **shape, **input_statistics(pixels)}


def log_entry(facts: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entry of one row: the facts (none where it could not be decoded) and the answer.

    Of an error only its kind is kept, none of what was sent.
    """
    error = row["error"]
    kind = error if error is None else str(error).partition(":")[0][:_LONGEST_ERROR]
    return {**facts, "probability": row["probability_fresh"], "error": kind}


def read_log(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yields the entries of a log and of what was rotated away from it, oldest first; None for a broken line.

    Raises: DatasetError where there is no such file.
    """
    older = [found for found in path.parent.glob(path.name + ".*") if found.suffix[1:].isdigit()]
    files = sorted(older, key=lambda found: -int(found.suffix[1:])) + [path] * path.exists()
    if not files:
        raise DatasetError(f"no prediction log at {path}: serve with {PATH_VARIABLE} set to a file")
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as handle:
            for line in filter(str.strip, handle):
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                yield entry if isinstance(entry, dict) and isinstance(entry.get("time"), str) else None


def read_period(path: Path, since: str, until: str) -> tuple[pd.DataFrame, int]:
    """Returns the entries of a period, one row each, and how many lines of the whole log are broken.

    Args:
        path: of the log.
        since, until: ISO 8601 dates or times, UTC where they name no zone; since is inside, until outside;
            empty: no limit.

    Raises: DatasetError where there is no log, a limit is no date, or the period has no entry.
    """
    begin, end = _moment(since, "--since"), _moment(until, "--until")
    rows = [
        None if entry is None or "probability" not in entry else tuple(map(entry.get, _COLUMNS))
        for entry in read_log(path)
    ]
    table = pd.DataFrame([row for row in rows if row], columns=list(_COLUMNS))
    moments = pd.to_datetime(table["time"], utc=True, format="ISO8601", errors="coerce")
    whole = moments.notna()
    inside = whole & (begin is None or moments >= begin) & (end is None or moments < end)
    if not inside.any():
        raise DatasetError(
            f"{path} has no entry in the period; it has {whole.sum():,} in all: change --since or --until"
        )
    return table[inside], len(rows) - int(whole.sum())


def _moment(text: str, option: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise DatasetError(
            f"{option} must be a date or time such as 2026-01-31 or 2026-01-31T18:00, got {text!r}"
        ) from None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None
