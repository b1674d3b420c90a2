"""Which file belongs to which movie, and which kinds of image are read everywhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.data.fetch import check_poster
from poster_ml.data.image_files import match_images
from poster_ml.data.images import KINDS, NAMES, SUFFIXES, decode_poster
from poster_ml.data.tables import read_table
from poster_ml.errors import DatasetError, RequestError
from poster_ml.pipeline.poster_files import walk_posters
from tests.pictures import encode
from tests.refusals import refusal

LEFT, RIGHT = (200, 40, 40), (40, 40, 200)


def movies(*rows: str) -> pd.DataFrame:
    """Of "movie_id,link,image_name" each; what is left out is empty."""
    cells = [(row + ",,").split(",")[:3] for row in rows]
    frame = pd.DataFrame(cells, columns=["movie_id", "link", "image_name"])
    return frame.assign(row=range(1, len(rows) + 1), source_id=frame["movie_id"])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("rows", "files", "found"),
    [
        ("tt0000101", "tt0000101.jpg unrelated.jpg", "tt0000101.jpg"),
        ("tt0000101", "TT0000101.JPEG", "TT0000101.JPEG"),
        ("Mud_1999", "mud_1999.jpg", "mud_1999.jpg"),
        ("tt0000101", "101.PNG", "101.PNG"),
        ("tt0000101", "0000101.webp", "0000101.webp"),
        ("m_13123,m_13123", "m_13123.jpg", "m_13123.jpg"),
        ("m_13123,m_13123", "_m_13123.jpg", "_m_13123.jpg"),
        ("aa-1,m_mud", "m_mud.jpg", "m_mud.jpg"),
        ("aa-1,,covers/Mud-1.png", "Mud-1.png", "Mud-1.png"),
        ("aa-1,,C:\\covers\\mud.png", "mud.png", "mud.png"),
        ("aa-1,,mud", "mud.jfif", "mud.jfif"),
        ("aa-1,,mr.bean", "mr.bean.avif", "mr.bean.avif"),
        # The told file, then the id, then the link.
        ("id,link,told.jpg id,link,gone.jpg x,link", "told.jpg id.jpg link.jpg", "told.jpg id.jpg link.jpg"),
        # The exact spelling, and a JPEG before a GIF.
        ("a A b", "A.jpg a.jpg b.gif b.jpg", "a.jpg A.jpg b.jpg"),
        # The file higher up.
        ("a d s,,y/s.jpg", "x/a.jpg a.gif x/y/d.jpg x/s.jpg y/s.jpg", "a.gif x/y/d.jpg y/s.jpg"),
        # Never one outside of the folder.
        ("a x,,../outside.jpg", "../outside.jpg a.jpg", "a.jpg -"),
    ],
)
def test_a_movie_gets_its_file(tmp_path, rows, files, found):
    folder = tmp_path / "posters"
    touch(folder, *files.split())
    matched, _ = match_images(movies(*rows.split()), folder, recursive=True)
    assert [image.removeprefix(f"{folder}/") or "-" for image in matched["image"]] == found.split()


@pytest.mark.parametrize(
    ("movie_id", "file"),
    [
        ("Mud (1999)", "Mud (1999).jpg"),
        ("Mud [a] #1", "mud [A] #1.png"),
        ("100%", "100%.jpg"),
        ("a b", "a_b.jpg"),
        ("17.0", "17.jpg"),
        ("17.0", "17.0.jpg"),
        ("Am\u00e9lie", "Ame\u0301lie.jpg"),
        ("Ame\u0301lie", "Am\u00e9lie.jpg"),
        ("Ame\u0301lie", "AME\u0301LIE.JPG"),
    ],
)
def test_ids_as_the_table_spells_them(tmp_path, movie_id, file):
    touch(tmp_path, f"posters/{file}", "posters/unrelated.jpg")
    (tmp_path / "table.csv").write_text(f"movie_id,tomatometer_status\n{movie_id},Fresh\n", encoding="utf-8")
    matched, missing = match_images(read_table(tmp_path / "table.csv").movies, tmp_path / "posters")
    assert list(matched["image"]) == [str(tmp_path / "posters" / file)]
    assert len(missing) == 0


def test_movies_without_file_are_told_and_the_table_is_untouched(tmp_path):
    touch(tmp_path, "a.jpg", "b.txt", ".c.jpg", "below/d.jpg")
    table = movies("a", "b", "c", "d")
    table["source_id"] = ["a", "b #1", "c", "d"]
    matched, missing = match_images(table, tmp_path)
    assert "image" not in table.columns
    assert [bool(image) for image in matched["image"]] == [True, False, False, False]
    reason = "missing file: no image for this movie"
    assert missing.to_numpy().tolist() == [[2, "b #1", reason], [3, "c", reason], [4, "d", reason]]


def test_folders_that_do_not_help(tmp_path):
    def refused(name: str) -> str:
        said = refusal(DatasetError, match_images, movies("a", "b"), tmp_path / name)
        return said.replace(str(tmp_path), "")

    touch(tmp_path, "full/z.jpg", "notes.txt")
    for name in ("no", "notes.txt"):
        assert refused(name) == f"no folder at /{name}; give the folder with the posters"
    assert refused("").startswith(
        "no image files in  itself (folders below are left out); looked for .jpg, .jpeg, "
    )
    assert refused("full") == (
        "none of the 1 image files in /full belongs to one of the 2 movies: the first file is 'z.jpg', the "
        "first movie_id 'a'; name the files after the ids, or tell the file column with --column image_file=NAME"
    )


@pytest.mark.real
def test_every_real_movie_has_its_poster(real_data):
    matched, missing = match_images(read_table(real_data / "movies.csv").movies, real_data / "posters")
    assert len(missing) == 0
    assert matched["image"].is_unique


# --- kinds of image


def poster(kind: str) -> bytes:
    """A file of two halves, red and blue."""
    image = Image.new("RGB", (90, 120), LEFT)
    image.paste(RIGHT, (45, 0, 90, 120))
    return encode(image, kind)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_every_ending_is_matched_and_decoded(tmp_path, suffix):
    kind = next(kind for kind, suffixes in KINDS.items() if suffix in suffixes)
    file = tmp_path / f"tt1{suffix.upper()}"
    file.write_bytes(poster(kind))
    touch(tmp_path, f".tt1{suffix}", "tt1.txt", "tt1")
    assert match_images(movies("tt1"), tmp_path)[0]["image"].tolist() == [str(file)]
    assert list(walk_posters([tmp_path])) == [file]
    decoded = decode_poster(file, 32)
    assert (decoded.format, decoded.width, decoded.height) == (kind, 90, 120)
    for columns, colour in ((slice(0, 12), LEFT), (slice(20, 32), RIGHT)):
        assert np.abs(decoded.pixels[:, columns].astype(int) - colour).max() < 12, kind


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_downloaded_gets_an_ending_that_is_read(kind):
    if kind in ("GIF", "BMP"):
        with pytest.raises(RequestError, match="placeholders are, posters are not"):
            check_poster(poster(kind))
    else:
        assert check_poster(poster(kind)) in KINDS[kind]
    assert kind in NAMES.upper()
