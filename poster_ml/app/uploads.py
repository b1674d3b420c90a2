"""Posters as they come from a browser: read, checked by the rules of the service, and taken away again."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from poster_ml.data.images import decode_poster, is_image_name
from poster_ml.errors import RequestError
from poster_ml.serving.requests import MAX_BYTES, MAX_PIXELS

MOST_IN_ZIP = 100_000
SHOWN_HEIGHT = 560  # pixels of a poster on the page


@dataclass(frozen=True)
class Upload:
    """A poster as it was uploaded: its file name and the content of the file."""

    name: str
    content: bytes

    def picture(self, size: int, fit: str) -> Image.Image:
        """Returns the poster to be shown under its map, RGB.

        Args:
            size, fit: of the model's input. A poster that is squashed into a square for the model is shown in
                its own shape, onto which the map stretches; else it is shown as the model receives it.

        Raises: RequestError with the reason.
        """
        if fit != "squash":
            return Image.fromarray(decode_poster(self.content, size, fit, max_pixels=MAX_PIXELS).pixels)
        decoded = decode_poster(self.content, SHOWN_HEIGHT, max_pixels=MAX_PIXELS)
        width = max(1, round(SHOWN_HEIGHT * decoded.width / decoded.height))
        return Image.fromarray(np.asarray(decoded.pixels)).resize((width, SHOWN_HEIGHT))


def read_upload(path: str | Path) -> Upload:
    """Reads an uploaded file and deletes it: nothing of a user's stays on the machine.

    Raises: RequestError where it is too large to be a poster, or gone.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise RequestError(
                f"{file.name} has {size / 1e6:.0f} MB: at most {MAX_BYTES / 1e6:g} MB are accepted"
            )
        return Upload(file.name, file.read_bytes())
    except FileNotFoundError:  # the same file from two browsers at once is one file on the disk
        raise RequestError(f"{file.name} did not arrive whole: drop it again") from None
    finally:
        delete_upload(file)


def delete_upload(path: str | Path) -> None:
    """Deletes an uploaded file and the folder of its own that it came in."""
    file = Path(path)
    file.unlink(missing_ok=True)
    with suppress(OSError):  # not empty: another upload's
        file.parent.rmdir()


def read_many(paths: Sequence[str | Path]) -> Iterator[Upload | tuple[str, str]]:
    """Yields the posters of uploaded files and ZIP archives, one at a time; each file is deleted at its end.

    Yields: a poster, or (name, reason) for what is none. Of an archive only image names are looked at.
    """
    for path in paths:
        file = Path(path)
        if zipfile.is_zipfile(file):
            yield from _of_archive(file)
            continue
        try:
            yield read_upload(file)
        except RequestError as error:
            yield file.name, str(error)


def _of_archive(file: Path) -> Iterator[Upload | tuple[str, str]]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [one for one in archive.infolist() if is_image_name(one.filename) and not one.is_dir()]
            if not 1 <= len(members) <= MOST_IN_ZIP:
                yield file.name, f"the archive has {len(members):,} images: 1 to {MOST_IN_ZIP:,} are accepted"
                return
            for member in members:
                yield _member(archive, member)
    except (zipfile.BadZipFile, OSError) as error:
        yield file.name, f"the archive cannot be read ({error})"
    finally:
        delete_upload(file)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Upload | tuple[str, str]:
    name = PurePosixPath(member.filename).name
    try:
        with archive.open(member) as stream:
            content = stream.read(MAX_BYTES + 1)  # whatever size the archive declares
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        return name, f"it cannot be unpacked ({error})"
    if len(content) > MAX_BYTES:
        return name, f"it has more than {MAX_BYTES / 1e6:g} MB, the most that is accepted"
    return Upload(name, content)
