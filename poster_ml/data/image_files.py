"""Which image file belongs to which movie: one scan of the folder, then look-ups."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poster_ml.data.image_kinds import SUFFIXES
from poster_ml.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class _FileIndex:
    """Image files by what a table may call them; keys as spelled and, where free, `_folded`."""

    by_path: dict[str, str]  # path below the folder, "/" between
    by_name: dict[str, str]
    by_stem: dict[str, str]


def match_images(
    movies: pd.DataFrame, posters: Path, *, recursive: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finds every movie's poster.

    A file is matched by, in this order: the table's own file name (a path below the folder, a name, or a
    name without its ending); the id as the table spells it, then `movie_id` (for IMDb ids also the bare
    number, 114709 or 0114709, for tt0114709);
    the link with `_` for `/`. Upper and lower case, the Unicode form (macOS writes an accent as a letter of
    its own) and the kind of image do not matter.

    Args:
        movies: as from `tables.read_table`: movie_id, source_id, link, image_name, row.
        posters: folder with image files; read only.
        recursive: also look in folders below; the files higher up go first.

    Returns: the movies with one more column `image` (path, "" where there is none), same rows and order;
        and the movies without image: row, movie_id, reason.
    Raises: DatasetError where the folder is missing, has no image files, or none of them fits any movie.
    """
    files = _scan(posters, recursive)
    index = _build_index(files, posters)
    images = [
        _find(index, *names)
        for names in zip(
            movies["movie_id"], movies["source_id"], movies["link"], movies["image_name"], strict=True
        )
    ]
    if len(movies) and not any(images):
        raise DatasetError(
            f"none of the {len(files)} image files in {posters} belongs to one of the {len(movies)} movies: "
            f"the first file is {files[0].name!r}, the first movie_id {movies['movie_id'].iloc[0]!r}; "
            "name the files after the ids, or tell the file column with --column image_file=NAME"
        )
    matched = movies.assign(image=images)
    missing = matched.loc[matched["image"] == "", ["row", "source_id"]].set_axis(["row", "movie_id"], axis=1)
    missing = missing.assign(reason="missing file: no image for this movie").reset_index(drop=True)
    return matched, missing


def _scan(posters: Path, recursive: bool) -> list[Path]:
    """Lists the image files: the ones nearest to the top first, then by preferred kind and name."""
    if not posters.exists():
        raise DatasetError(f"no folder at {posters}; give the folder with the posters")
    if not posters.is_dir():
        raise DatasetError(f"{posters} is a file; give the folder with the posters")
    try:
        files = [path for path in _walk(posters, recursive) if path.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise DatasetError(f"cannot read {posters}: {error.strerror or error}") from error
    if not files:
        below = "" if recursive else " itself (folders below are left out)"
        raise DatasetError(f"no image files in {posters}{below}; looked for {', '.join(SUFFIXES)}")
    return sorted(files, key=lambda path: (len(path.parts), SUFFIXES.index(path.suffix.lower()), str(path)))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yields files; hidden ones are half-written downloads and other programs' notes."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                yield Path(entry.path)
            elif recursive and entry.is_dir(follow_symlinks=False):  # a link upwards would never end
                yield from _walk(Path(entry.path), recursive)


def _build_index(files: list[Path], posters: Path) -> _FileIndex:
    index = _FileIndex({}, {}, {})
    keys = [(path.relative_to(posters).as_posix(), path.name, path.stem, str(path)) for path in files]
    for spelling in (str, _folded):  # what is spelled exactly so goes before what merely sounds so
        for relative, name, stem, path in keys:
            index.by_path.setdefault(spelling(relative), path)
            index.by_name.setdefault(spelling(name), path)
            index.by_stem.setdefault(spelling(stem), path)
    return index


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _find(index: _FileIndex, movie_id: str, source_id: str, link: str, image_name: str) -> str:
    """Returns the path of a movie's poster, "" where there is none."""
    hint = image_name.replace("\\", "/").removeprefix("./")
    name = hint.rsplit("/", 1)[-1]
    stems = [name, source_id, movie_id]
    if movie_id.startswith("tt") and movie_id[2:].isdigit():
        stems += [movie_id[2:], movie_id[2:].lstrip("0")]
    if link:
        stems += [link, f"_{link}"]  # "/m/13123" with every "/" replaced is "_m_13123"
    tries = [(index.by_path, hint), (index.by_name, name), *((index.by_stem, stem) for stem in stems)]
    for paths, key in tries:
        if key:
            path = paths.get(key) or paths.get(_folded(key))
            if path:
                return path
    return ""
