"""Posters as they come from a browser: read, checked by the rules of the service, and taken away again."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from poster_ml.data.image_kinds import is_image_name
from poster_ml.data.images import decode_poster
from poster_ml.errors import RequestError
from poster_ml.serving.requests import MAX_BYTES, MAX_PIXELS

MOST_IN_ZIP = 100_000


@dataclass(frozen=True)
class Upload:
    """A poster as it was uploaded: its file name and the content of the file."""

    name: str
    content: bytes

    def picture(self, size: int) -> Image.Image:
        """Returns the poster as the model receives it, square, RGB. Raises: RequestError with the reason."""
        poster = decode_poster(self.content, size, max_pixels=MAX_PIXELS)
        return Image.fromarray(poster.pixels)


def read_upload(path: str | Path) -> Upload:
    """Reads an uploaded file and deletes it: nothing of a user's stays on the machine.

    Raises: RequestError where it is too large to be a poster.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            size = file.stat().st_size / 1e6
            raise RequestError(f"{file.name} has {size:.0f} MB, at most {MAX_BYTES / 1e6:g} MB are taken")
        return Upload(file.name, file.read_bytes())
    finally:
        file.unlink(missing_ok=True)


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
            if not members or len(members) > MOST_IN_ZIP:
                yield file.name, f"the archive has {len(members):,} images: 1 to {MOST_IN_ZIP:,} are taken"
                return
            for member in members:
                name = PurePosixPath(member.filename).name
                if member.file_size > MAX_BYTES:  # as declared; reading stops there whatever comes
                    yield (
                        name,
                        f"it has {member.file_size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:g} MB are taken",
                    )
                    continue
                try:
                    with archive.open(member) as stream:
                        content = io.BytesIO(stream.read(MAX_BYTES + 1)).getvalue()
                    yield Upload(name, content)
                except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
                    yield name, f"it cannot be unpacked ({error})"
    except zipfile.BadZipFile as error:
        yield file.name, f"the archive cannot be read ({error})"
    finally:
        file.unlink(missing_ok=True)
