"""Files that are whole or absent: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write a file to; renames it to `path` when the block ends well.

    A reader sees the old file or the new one. On an error or a kill the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill; puts it in the place of `folder` when the block ends well.

    An older `folder` is moved aside first and removed after. A kill leaves the older one or the newer one,
    never a mixture; in the moment between the two renames the older one lies beside under a hidden name, and
    the next call puts it back. What killed processes left behind is removed by the next call.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clean_up(folder)
    mark = f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary, aside = folder.parent / f"{mark}.tmp", folder.parent / f"{mark}.old"
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            folder.rename(aside)
        try:
            temporary.rename(folder)
        except OSError:
            if aside.exists():
                aside.rename(folder)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _clean_up(folder: Path) -> None:
    """Removes what dead processes left of `folder`; an older one that was set aside comes back."""
    for leftover in sorted(folder.parent.glob(f".{folder.name}.*-*.*")):
        process = leftover.name.removeprefix(f".{folder.name}.").partition("-")[0]
        if not process.isdigit() or _is_alive(int(process)):
            continue
        if leftover.suffix == ".old" and not folder.exists():
            leftover.rename(folder)
        elif leftover.suffix in (".old", ".tmp"):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
