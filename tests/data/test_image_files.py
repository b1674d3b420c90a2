"""Which file belongs to which movie."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from poster_ml.data.image_files import match_images
from poster_ml.data.tables import read_table
from poster_ml.errors import DatasetError


def movies(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """movie_id, link, image_name each."""
    frame = pd.DataFrame(rows, columns=["movie_id", "link", "image_name"])
    return frame.assign(row=range(1, len(rows) + 1), source_id=frame["movie_id"])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("movie", "file"),
    [
        (("tt0000101", "", ""), "tt0000101.jpg"),
        (("tt0000101", "", ""), "TT0000101.JPEG"),
        (("Mud_1999", "", ""), "mud_1999.jpg"),
        (("tt0000101", "", ""), "101.PNG"),
        (("tt0000101", "", ""), "0000101.webp"),
        (("m_13123", "m_13123", ""), "m_13123.jpg"),
        (("m_13123", "m_13123", ""), "_m_13123.jpg"),
        (("aa-1", "m_mud", ""), "m_mud.jpg"),
        (("aa-1", "", "covers/Mud 1.png"), "Mud 1.png"),
        (("aa-1", "", "C:\\covers\\mud.png"), "mud.png"),
        (("aa-1", "", "mud"), "mud.jfif"),
        (("aa-1", "", "mr.bean"), "mr.bean.avif"),
    ],
)
def test_one_movie_one_file(tmp_path: Path, movie: tuple[str, str, str], file: str):
    touch(tmp_path, file, "unrelated.jpg")
    matched, missing = match_images(movies(movie), tmp_path)
    assert list(matched["image"]) == [str(tmp_path / file)]
    assert len(missing) == 0


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
def test_ids_as_the_table_spells_them(tmp_path: Path, movie_id: str, file: str):
    touch(tmp_path, f"posters/{file}", "posters/unrelated.jpg")
    (tmp_path / "table.csv").write_text(f"movie_id,tomatometer_status\n{movie_id},Fresh\n", encoding="utf-8")
    matched, missing = match_images(read_table(tmp_path / "table.csv").movies, tmp_path / "posters")
    assert list(matched["image"]) == [str(tmp_path / "posters" / file)]
    assert len(missing) == 0


def test_told_file_goes_before_id_and_id_before_link(tmp_path: Path):
    touch(tmp_path, "told.jpg", "id.jpg", "link.jpg")
    table = movies(("id", "link", "told.jpg"), ("id", "link", "gone.jpg"), ("other", "link", ""))
    matched, _ = match_images(table, tmp_path)
    assert [Path(image).name for image in matched["image"]] == ["told.jpg", "id.jpg", "link.jpg"]


def test_exact_spelling_goes_first_and_jpeg_before_gif(tmp_path: Path):
    touch(tmp_path, "A.jpg", "a.jpg", "b.gif", "b.jpg")
    matched, _ = match_images(movies(("a", "", ""), ("A", "", ""), ("b", "", "")), tmp_path)
    assert [Path(image).name for image in matched["image"]] == ["a.jpg", "A.jpg", "b.jpg"]


def test_movies_without_file_are_told_and_the_table_is_untouched(tmp_path: Path):
    touch(tmp_path, "a.jpg", "b.txt", ".c.jpg", "below/d.jpg")
    table = movies(("a", "", ""), ("b", "", ""), ("c", "", ""), ("d", "", ""))
    table["source_id"] = ["a", "b #1", "c", "d"]
    matched, missing = match_images(table, tmp_path)
    assert "image" not in table.columns
    assert [bool(image) for image in matched["image"]] == [True, False, False, False]
    assert missing.to_numpy().tolist() == [
        [row, name, "missing file: no image for this movie"]
        for row, name in ((2, "b #1"), (3, "c"), (4, "d"))
    ]


def test_recursive_prefers_the_file_higher_up(tmp_path: Path):
    touch(tmp_path, "below/a.jpg", "a.gif", "below/deeper/d.jpg", "x/same.jpg", "y/same.jpg")
    table = movies(("a", "", ""), ("d", "", ""), ("s", "", "y/same.jpg"))
    matched, _ = match_images(table, tmp_path, recursive=True)
    names = [Path(image).relative_to(tmp_path).as_posix() for image in matched["image"]]
    assert names == ["a.gif", "below/deeper/d.jpg", "y/same.jpg"]


def test_a_told_path_never_leaves_the_folder(tmp_path: Path):
    touch(tmp_path, "outside.jpg", "posters/a.jpg")
    table = movies(("a", "", ""), ("x", "", "../outside.jpg"))
    assert list(match_images(table, tmp_path / "posters")[0]["image"])[1] == ""


def test_folders_that_do_not_help(tmp_path: Path):
    def refusal(folder: Path) -> str:
        with pytest.raises(DatasetError) as caught:
            match_images(movies(("a", "", ""), ("b", "", "")), folder)
        return str(caught.value)

    assert refusal(tmp_path / "no") == f"no folder at {tmp_path / 'no'}; give the folder with the posters"
    touch(tmp_path, "full/z.jpg", "notes.txt")
    assert refusal(tmp_path / "notes.txt") == (
        f"{tmp_path / 'notes.txt'} is a file; give the folder with the posters"
    )
    assert refusal(tmp_path).startswith(
        f"no image files in {tmp_path} itself (folders below are left out); looked for .jpg, .jpeg, "
    )
    assert refusal(tmp_path / "full") == (
        f"none of the 1 image files in {tmp_path / 'full'} belongs to one of the 2 movies: the first file is "
        "'z.jpg', the first movie_id 'a'; name the files after the ids, "
        "or tell the file column with --column image_file=NAME"
    )


@pytest.mark.real
def test_every_real_movie_has_its_poster(real_data: Path):
    matched, missing = match_images(read_table(real_data / "movies.csv").movies, real_data / "posters")
    assert len(missing) == 0
    assert matched["image"].is_unique
