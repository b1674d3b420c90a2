"""Paths that are written to: whole or absent, and never over what is not ours.

Files and folders are written under a temporary name beside their place, then renamed. A path that a user
named is looked at first: it must be new, empty, or recognisably an earlier result of the same command.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from filelock import FileLock, Timeout

from poster_ml.errors import OutputError

_HEAD_BYTES = 4096  # of a file, enough to tell what it is


@dataclass(frozen=True)
class FolderResult:
    """How the folder that a command wrote is recognised.

    Attributes:
        command: which writes it, for messages.
        marker: a file that every result holds.
        says: a text that stands in the marker.
        files: patterns of everything that a result may hold, as paths below the folder with "/"
            between (`*` matches anything): for folders that are replaced whole. Empty: the command
            replaces its own files and leaves others alone.
    """

    command: str
    marker: str
    says: str
    files: tuple[str, ...] = ()

    def holds(self, folder: Path) -> bool:
        """Whether a folder is such a result."""
        marker = folder / self.marker
        return marker.is_file() and self.says in marker.read_text(encoding="utf-8", errors="replace")

    def foreign(self, folder: Path) -> str:
        """Returns the first path below the folder that a result does not hold, "" without one."""
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            ours = any(fnmatchcase(name, pattern) for pattern in self.files)
            # A link that stands for a folder is the user's; what it points to is not looked through.
            if not ours and (path.is_symlink() or not path.is_dir()):
                return name
        return ""


def command_result(command: str) -> FolderResult:
    """Returns how the folder of a command that marks its results is recognised: by a hidden file."""
    return FolderResult(command, f".poster-ml-{command}", f"poster-ml {command}")


def check_output_folder(folder: Path, result: FolderResult, option: str = "--out") -> None:
    """Makes sure that a folder may be written to: it is new, empty, or an earlier result. Writes nothing.

    Args:
        folder: as the user named it.
        result: how an earlier result is recognised.
        option: that named it, for the message.

    Raises: OutputError saying what is there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{option} {folder} is a file: give a new or empty folder")
    first = min((path.name for path in folder.iterdir()), default="")
    if not first:
        return
    if not result.holds(folder):
        raise OutputError(
            f"{option} {folder} holds {first!r} and is not a result of `poster-ml {result.command}`: "
            "give a new or empty folder"
        )
    foreign = result.foreign(folder) if result.files else ""
    if foreign:
        raise OutputError(
            f"{option} {folder} would be replaced and holds {foreign!r}, which "
            f"`poster-ml {result.command}` did not write: move it away, or give another folder"
        )


def open_output_folder(folder: Path, command: str) -> None:
    """Makes the folder of a command's result and marks it; a folder of others is refused.

    Raises: OutputError as `check_output_folder`; OSError where it cannot be made.
    """
    result = command_result(command)
    check_output_folder(folder, result)
    folder.mkdir(parents=True, exist_ok=True)
    note = f"Written by `{result.says}`, which replaces its files here when it is called again.\n"
    (folder / result.marker).write_text(note, encoding="utf-8")


def check_output_file(path: Path, is_ours: Callable[[bytes], bool], what: str, option: str = "--out") -> None:
    """Makes sure that a file may be written to: it is new, empty, or holds what we wrote. Writes nothing.

    Args:
        path: as the user named it.
        is_ours: recognises a file by its first 4,096 bytes.
        what: it holds then, for the message: "no <what>".
        option: that named it, for the message.

    Raises: OutputError saying what is there; OSError where it cannot be read.
    """
    try:  # one look: between two of them another process may rename its own file
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise OutputError(f"{option} {path} is a folder: give a file")
    if not stat.S_ISREG(mode):  # a device or a pipe: renaming over it would destroy it
        raise OutputError(f"{option} {path} is not a regular file: give the path of a file")
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    if head and not is_ours(head):
        raise OutputError(f"{option} {path} exists and holds no {what}: give another file")


def begins_with(text: str) -> Callable[[bytes], bool]:
    """Returns what recognises a file by how it begins; of a shorter file all must be the beginning."""
    expected = text.encode()
    return lambda head: head[: len(expected)] == expected[: len(head)]


def printable(text: str | Path) -> str:
    r"""Returns a name as text that can be printed and stored.

    Names are bytes, and those that are not UTF-8 reach Python as lone surrogates, which no file,
    terminal or database takes: such a byte is shown as an escape, `caf\udce9.jpg`.
    """
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write a file to; renames it to `path` when the block ends well.

    A reader sees the old file or the new one. On an error or a kill the old one stays. A link stays
    a link: what it points to is replaced.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(folder: Path, result: FolderResult) -> Iterator[Path]:
    """Gives a temporary folder to fill; puts it in the place of `folder` when the block ends well.

    An older result is moved aside first and removed after; anything else at `folder` is refused, before the
    block and once more after it. A kill leaves the older one or the newer one, never a mixture; in the moment
    between the two renames the older one lies beside under a hidden name, and the next call puts it back.
    What killed processes of this machine left behind is removed by the next call; what other machines left is
    not touched, for nobody here can tell whether they still fill it.

    Raises: OutputError as `check_output_folder`, and while another process of this machine fills it.
    """
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{folder.name}.{socket.gethostname()}"
    temporary, aside, lock = (folder.with_name(mark + ending) for ending in (".tmp", ".old", ".lock"))
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        raise OutputError(f"{folder} is being written by another command: wait until it has ended") from error
    try:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        for leftover in (temporary, aside):
            shutil.rmtree(leftover, ignore_errors=True)
        check_output_folder(folder, result)
        temporary.mkdir()
        yield temporary
        check_output_folder(folder, result)
        if folder.exists():
            folder.rename(aside)
        try:
            temporary.rename(folder)
        except OSError:
            if aside.exists():
                aside.rename(folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        lock.unlink(missing_ok=True)
        held.release()


def remove_leftovers(folder: Path, endings: Sequence[str]) -> None:
    """Removes what killed calls of `atomic_path` left in a folder.

    Args:
        folder: to look in.
        endings: of the files that were to be written, for example ".jpg".
    """
    for ending in endings:
        for leftover in folder.glob(f".?*{glob.escape(ending)}.{'[0-9a-f]' * 8}.tmp"):
            leftover.unlink(missing_ok=True)
