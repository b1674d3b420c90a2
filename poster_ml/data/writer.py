"""An array file that grows picture by picture: its length need not be known, its memory does not grow.

Written as a stream, not through a memory map: pages of a map that were written to count as the process's
memory until the system takes them back, 2.4 GB at 16,000 posters.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from types import TracebackType

import numpy as np

from poster_ml.data.images import Pixels
from poster_ml.errors import DatasetError

BYTES_AT_ONCE = 8 * 2**20


class ArrayWriter:
    """Writes (N, size, size, 3) uint8 as a `.npy` file, one picture at a time; use it in a `with` block.

    Args:
        path: the file, overwritten.
        size: side of the pictures in pixels.

    Attributes:
        count: pictures written so far.
        digest: running SHA-256 of their pixels, in order.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self.count = 0
        self.digest = hashlib.sha256()
        self._file = path.open("wb")
        self._file.write(_header(0, size))

    def append(self, pixels: Pixels) -> None:
        """Adds one picture, (size, size, 3) uint8."""
        if pixels.shape != (self.size, self.size, 3) or pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels must be ({self.size}, {self.size}, 3) uint8, got {pixels.shape=} {pixels.dtype=}"
            )
        data = np.ascontiguousarray(pixels).data
        self._file.write(data)
        self.digest.update(data)
        self.count += 1

    def __enter__(self) -> ArrayWriter:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts the final length into the header, which has room for it, and closes the file."""
        if kind is None:
            self._file.seek(0)
            self._file.write(_header(self.count, self.size))
        self._file.close()


def _header(count: int, size: int) -> bytes:
    """Returns the `.npy` header; NumPy pads it so that the length does not depend on `count`."""
    buffer = io.BytesIO()
    shape = (count, size, size, 3)
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def pixel_digest(path: Path) -> hashlib._Hash:
    """Returns the SHA-256 of a `.npy` file's data without its header, read in pieces of 8 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        np.lib.format.read_magic(handle)
        np.lib.format.read_array_header_1_0(handle)
        while data := handle.read(BYTES_AT_ONCE):
            digest.update(data)
    return digest


def check_space(folder: Path, posters: int, size: int) -> None:
    """Refuses to start what the disk cannot hold: DatasetError with what is needed and what is free."""
    needed = posters * size * size * 3
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DatasetError(
            f"{posters} posters of {size} x {size} need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free at {existing}; free some, or take a smaller --size or a --limit"
        )
