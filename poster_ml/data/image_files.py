"""Which image file belongs to which movie: one scan of the folder, then look-ups."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pandas as pd

from poster_ml.data.images import SUFFIXES, is_image_name
from poster_ml.errors import DatasetError


def match_images(
    movies: pd.DataFrame, posters: Path, *, recursive: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finds every movie's poster.

    A file is matched by, in this order: the table's own file name (a path below the folder, a name,
    or a name without its ending); the id as the table spells it, then `movie_id` (for IMDb ids also
    the bare number, 114709 or 0114709, for tt0114709);
    the link with `_` for `/`. Upper and lower case, the Unicode form (macOS writes an accent as a
    letter of its own) and the kind of image do not matter.

    Args:
        movies: as from `tables.read_table`: movie_id, source_id, link, image_name, row.
        posters: folder with image files; read only.
        recursive: also look in folders below; the files higher up go first.

    Returns: the movies with one more column `image` (path, "" where there is none), same rows and
        order; and the movies without image: row, movie_id, reason.
    Raises: DatasetError where the folder is missing, has no image files, or none of them fits any
        movie.
    """
    files = _scan(posters, recursive)
    index = _build_index(files, posters)
    names = movies[["movie_id", "source_id", "link", "image_name"]]
    images = [_find(index, *row) for row in names.itertuples(index=False, name=None)]
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
    if not posters.is_dir():
        raise DatasetError(f"no folder at {posters}; give the folder with the posters")

    def refuse(error: OSError) -> None:
        raise DatasetError(f"cannot read {error.filename}: {error.strerror}") from error

    files: list[Path] = []
    # Links to folders are not followed: one upwards would never end.
    for folder, below, names in os.walk(posters, onerror=refuse):
        below[:] = [name for name in below if recursive and not name.startswith(".")]
        files += [Path(folder) / name for name in names if is_image_name(name)]
    if not files:
        below_too = "" if recursive else " itself (folders below are left out)"
        raise DatasetError(f"no image files in {posters}{below_too}; looked for {', '.join(SUFFIXES)}")
    return sorted(files, key=lambda path: (len(path.parts), SUFFIXES.index(path.suffix.lower()), str(path)))


def _build_index(files: list[Path], posters: Path) -> dict[str, str]:
    """Returns the files by path below the folder, by name and by stem, as spelled and `_folded`.

    What is spelled exactly so goes before what merely sounds so, and a whole name before a stem.
    """
    index: dict[str, str] = {}
    for spelling in (str, _folded):
        for keys in (
            [path.relative_to(posters).as_posix() for path in files],
            [path.name for path in files],
            [path.stem for path in files],
        ):
            for key, path in zip(keys, files, strict=True):
                index.setdefault(spelling(key), str(path))
    return index


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _find(index: dict[str, str], movie_id: str, source_id: str, link: str, image_name: str) -> str:
    """Returns the path of a movie's poster, "" where there is none."""
    hint = image_name.replace("\\", "/").removeprefix("./")
    keys = [hint, hint.rsplit("/", 1)[-1], source_id, movie_id]
    if movie_id.startswith("tt") and movie_id[2:].isdigit():
        keys += [movie_id[2:], movie_id[2:].lstrip("0")]
    if link:
        keys += [link, f"_{link}"]  # "/m/13123" with every "/" replaced is "_m_13123"
    for key in filter(None, keys):
        path = index.get(key) or index.get(_folded(key))
        if path:
            return path
    return ""
