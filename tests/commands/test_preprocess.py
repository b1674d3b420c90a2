"""Table and folder to dataset: the steps together, and every refusal in one line."""

from pathlib import Path

import pandas as pd
import pytest

from poster_ml.commands.preprocess import run_preprocess
from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError, OutputError, TableError
from tests.pictures import poster
from tests.refusals import refusal

MOVIES = 40


def write_posters(folder: Path) -> Path:
    folder.mkdir()
    for number in range(MOVIES):
        poster(number).save(folder / f"m_{number}.jpg", quality=90)
    return folder


@pytest.fixture
def table(tmp_path):
    """A table with a movie too many and a label that is none; links instead of ids."""
    lines = [
        "movie_link,movie_name,genre,in_theaters_date,poster_image,tomatometer_status,tomatometer_rating"
    ]
    for number in range(MOVIES + 1):
        status = "NA" if number == 5 else ["rotten", "fresh", "certified_fresh"][number % 3]
        lines.append(f'/m/{number},Film {number},"Drama,Comedy","Apr 29, {1950 + number}",,{status},{number}')
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def prepare(table: Path, tmp_path: Path, **options: object):
    options |= {"size": 16, "workers": 1, "track": False}
    return run_preprocess(table, tmp_path / "posters", tmp_path / "data", **options)


def test_every_row_is_in_the_dataset_or_rejected_with_a_reason(table, tmp_path):
    write_posters(tmp_path / "posters")
    result = prepare(table, tmp_path)
    index = pd.read_csv(tmp_path / "data" / "index.csv")
    rejected = pd.read_csv(tmp_path / "data" / "rejected.csv")
    assert len(index) == sum(result.counts.values()) == MOVIES - 1
    assert sorted([*index["row"], *rejected["row"]]) == list(range(1, MOVIES + 2))
    assert rejected.to_numpy().tolist() == [
        [6, "m_5", "no label: tomatometer_status is 'NA'"],
        [41, "m_40", "missing file: no image for this movie"],
    ]
    assert result.rejected == 2
    assert result.reasons == {"no label": 1, "missing file": 1}
    assert (result.dialect, result.label_rule) == ("movie_link", "tomatometer_status")
    assert list(index["label"]) == [int(row % 3 != 1) for row in index["row"]]
    assert list(index["year"]) == [1949 + row for row in index["row"]]
    assert set(index["genres"]) == {"Drama|Comedy"}
    dataset = PreparedDataset.open(result.folder)
    assert result.fingerprint == dataset.fingerprint
    assert dataset.manifest["source"]["table"] == "table.csv"
    lines = result.text().splitlines()
    assert lines[0].startswith(f"39 posters in {tmp_path / 'data'}: train ")
    assert lines[1:] == [
        "table dialect movie_link, labels from tomatometer_status",
        f"fingerprint {result.fingerprint}",
        f"2 rows rejected, see {tmp_path / 'data' / 'rejected.csv'}:",
        "       1  no label",
        "       1  missing file",
    ]


def test_the_result_tells_what_could_not_be_read(table, tmp_path):
    write_posters(tmp_path / "posters")
    lines = prepare(table, tmp_path, columns=["year=movie_name"]).text().splitlines()
    assert lines[3] == (
        "40 of 40 movies have no year that can be read in column 'movie_name', for example 'Film 0'"
    )


def test_options_reach_the_reading_of_table_and_folder(table, tmp_path):
    write_posters(tmp_path / "inner")
    (tmp_path / "posters").mkdir()
    (tmp_path / "inner").rename(tmp_path / "posters" / "inner")
    result = prepare(table, tmp_path, score_threshold=20, recursive=True)
    assert result.label_rule == "tomatometer_rating >= 20"
    index = PreparedDataset.open(result.folder).index
    assert list(index["label"]) == [int(row > 20) for row in index["row"]]
    named = {"columns": ["genres=movie_name"], "limit": 30, "split": "stratified", "recursive": True}
    told = prepare(table, tmp_path, **named)
    assert sum(told.counts.values()) == 30
    assert PreparedDataset.open(told.folder).index["genres"].str.startswith("Film").all()


def test_refusals_write_nothing_and_the_input_is_never_replaced(table, tmp_path):
    posters, data = write_posters(tmp_path / "posters"), tmp_path / "data"
    said = refusal(TableError, prepare, table, tmp_path, columns=["label"])
    assert said.startswith("--column 'label': expected")
    assert refusal(TableError, prepare, tmp_path / "no.csv", tmp_path).startswith("no table at ")
    assert not data.exists()
    prepare(table, tmp_path)
    assert refusal(DatasetError, prepare, data / "index.csv", tmp_path) == (
        f"--table {data / 'index.csv'} lies in --out {data}, which would be replaced; give another --out"
    )
    said = refusal(OutputError, run_preprocess, table, posters, posters, track=False)
    assert "is not a result of `poster-ml preprocess`" in said
    assert len(list(posters.iterdir())) == MOVIES
    assert (data / "manifest.json").is_file()
