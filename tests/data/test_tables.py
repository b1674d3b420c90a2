"""Every dialect in circulation, every kind of cell, every way a table can be wrong."""

import gzip
from operator import methodcaller
from pathlib import Path

import pandas as pd
import pytest

from poster_ml.data import table_fields as fields
from poster_ml.data.dialects import DIALECTS, ROLES, parse_column_options
from poster_ml.data.tables import MovieTable, read_table
from poster_ml.errors import TableError
from tests.refusals import refusal

# Invented movies: one Fresh, one Rotten, one with a comma and a quote in its text.
SAMPLES = {
    "poster_ml": (
        "movie_id,title,year,genres,tomatometer_rating,tomatometer_status\n"
        "tt0000101,The Paper Boat,1984,Drama|Comedy,91,Fresh\n"
        "tt0000102,Mud,1999,Horror,12,Rotten\n"
        'tt0000103,"Wait, ""Who""?",2011,Drama,,Certified-Fresh\n'
    ),
    "rotten_tomatoes_link": (
        "rotten_tomatoes_link,movie_title,genres,original_release_date,tomatometer_status,"
        "tomatometer_rating,poster_image_url\n"
        'm/0000101,The Paper Boat,"Drama, Comedy",1984-05-02,Fresh,91.0,http://x.test/a.jpg\n'
        "m/mud,Mud,Horror,1999-12-31,Rotten,12.0,/assets/poster_default.gif\n"
        'm/who,"Wait, ""Who""?",Drama,2011-01-01,Certified-Fresh,,\n'
    ),
    "movie_link": (
        ",movie_link,movie_name,genre,in_theaters_date,movie_info,poster_image,tomatometer_status,"
        "tomatometer_rating\n"
        '0,/m/101,The Paper Boat,"Drama,Comedy","Apr 29, 1984","Long\ntext, ""quoted""",http://x.test/a,fresh,91\n'
        '1,/m/mud,Mud,Horror,"Dec 31, 1999",,http://x.test/b,rotten,12\n'
        '2,/m/who,"Wait, ""Who""?",Drama,"Jan 1, 2011",NA,,certified_fresh,\n'
    ),
    "title_and_date": (
        "movie_title,rating,genre,in_theaters_date,tomatometer_status,tomatometer_rating\n"
        'The Paper Boat,G,"Drama, Comedy",1984-05-02,Fresh,91\n'
        "Mud,R,Horror,1999-12-31,Rotten,12\n"
        '"Wait, ""Who""?",PG,Drama,2011-01-01,Certified Fresh,\n'
    ),
    "critic_score": (
        '"movieId","movieYear","movieURL","movieTitle","critic_score","release_date_theaters"\n'
        '"aa-1",1984,"https://www.rottentomatoes.com/m/the_paper_boat","The Paper Boat",91.0,"May 2, 1984, Wide"\n'
        '"aa-2",1999,"https://www.rottentomatoes.com/m/mud","Mud",12.0,""\n'
        '"aa-3",2011,"https://www.rottentomatoes.com/m/who","Wait, ""Who""?",60.0,""\n'
    ),
    "imdb_genre": (
        "imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n"
        "0000101,http://www.imdb.com/title/tt101,The Paper Boat (1984),8.1,Drama|Comedy,http://x.test/a.jpg\n"
        "102,http://www.imdb.com/title/tt102,Mud (1999),6.5,Horror,http://x.test/b.jpg\n"
        '10000103,http://www.imdb.com/title/tt10000103,"Wait, ""Who""? (2011)",6.6,Drama,\n'
    ),
}
IDS = {
    "poster_ml": ["tt0000101", "tt0000102", "tt0000103"],
    "rotten_tomatoes_link": ["m_0000101", "m_mud", "m_who"],
    "movie_link": ["m_101", "m_mud", "m_who"],
    "title_and_date": ["the_paper_boat_1984", "mud_1999", "wait_who_2011"],
    "critic_score": ["aa-1", "aa-2", "aa-3"],
    "imdb_genre": ["tt0000101", "tt0000102", "tt10000103"],
}


def table_of(folder: Path, content: str | bytes, **options: object) -> MovieTable:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, **options)


def refused(folder: Path, content: str | bytes, **options: object) -> str:
    """The message that follows the table's name."""
    said = refusal(TableError, table_of, folder, content, **options)
    return said.replace(f"{folder}/", "").removeprefix("table.csv")


COMMON = ["movie_id", "title", "year", "label", "row", "genres", "tomatometer_rating"]


def columns_of(movies: pd.DataFrame, names: list[str]) -> dict[str, list]:
    return movies[names].to_dict("list")


# --- dialects


def test_there_is_a_sample_for_every_dialect():
    assert set(SAMPLES) == set(IDS) == set(DIALECTS)
    assert all(set(dialect.columns) <= set(ROLES) for dialect in DIALECTS.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_dialect_is_recognised_and_means_the_same_movies(tmp_path, name):
    table = table_of(tmp_path, SAMPLES[name])
    assert (table.layout.dialect, len(table.rejected), table.notes) == (name, 0, ())
    by_score = {"critic_score": "critic_score >= 60", "imdb_genre": "IMDB Score >= 6.6"}
    assert table.layout.label_rule == by_score.get(name, "tomatometer_status")
    genres = ["", "", ""] if name == "critic_score" else ["Drama|Comedy", "Horror", "Drama"]
    ratings = {"imdb_genre": [-1, -1, -1], "critic_score": [91, 12, 60]}.get(name, [91, 12, -1])
    assert columns_of(table.movies.fillna({"tomatometer_rating": -1}), COMMON) == {
        "movie_id": IDS[name], "title": ["The Paper Boat", "Mud", 'Wait, "Who"?'], "year": [1984, 1999, 2011],
        "label": [1, 0, 1], "row": [1, 2, 3], "genres": genres, "tomatometer_rating": ratings,
    }  # fmt: skip
    assert (table.movies["year"].dtype, table.movies["label"].dtype) == ("Int64", "int64")


READ = {
    "image URLs": (
        SAMPLES["rotten_tomatoes_link"], {},
        {"image_url": ["http://x.test/a.jpg", "/assets/poster_default.gif", ""]}, [],
    ),
    "links": (SAMPLES["critic_score"], {}, {"link": ["m_the_paper_boat", "m_mud", "m_who"]}, []),
    "a header in other letters and with spaces": (
        SAMPLES["poster_ml"].replace("movie_id,title", " Movie_ID ,TITLE"), {}, {"movie_id": IDS["poster_ml"]}, [],
    ),
    "a score in the place of the status": (
        SAMPLES["poster_ml"], {"score_threshold": 95},
        {"label": [0, 0]}, [[3, "tt0000103", "no score: tomatometer_rating is ''"]],
    ),
    "decimal commas": (
        "movie_id;imdb_score\n" + "".join(f"m{at};{5 + at // 10},{at % 10}\n" for at in range(12)),
        {"columns": {"score": "imdb_score"}, "score_threshold": 5.5},
        {"label": [0] * 5 + [1] * 7}, [],
    ),
    "a told column before that of the dialect and a plain name beside it": (
        "imdbId,Title,year,Genre,status,IMDB Score\n1,Heat,1990,Drama,Rotten,9.9\n2,Mud,1991,,Fresh,1\n",
        {"columns": {"label": "status"}}, {"year": [1990, 1991], "label": [0, 1]}, [],
    ),
    "no dialect, every column told": (
        "key;film;premiere;verdict;cover\n7;Mud;31.12.1999;ROTTEN;a.png\n8;Boat;1984;certified fresh;b.png\n",
        {"columns": parse_column_options(
            ["movie_id=key", "title = film", "year=premiere", "label=Verdict", "image_file=cover"]
        )},
        {"movie_id": ["7", "8"], "title": ["Mud", "Boat"], "year": [1999, 1984], "label": [0, 1],
         "image_name": ["a.png", "b.png"]},
        [],
    ),
    "no dialect, names that need not be told": (
        "movie_id,title,status\na,Mud (1999),fresh\n", {"columns": {"label": "status"}},
        {"movie_id": ["a"], "title": ["Mud"], "year": [1999]}, [],
    ),
    "a told dialect": (
        "movie_id,movie_title,in_theaters_date,tomatometer_status\nx9,Mud,1999,Fresh\n",
        {"dialect": "title_and_date"}, {"movie_id": ["mud_1999"]}, [],
    ),
    "rows that cannot be used": (
        "movie_id,title,tomatometer_status\na,One,Fresh\nb,Two,upcoming\na,One again,Rotten\n\nc,Three\n"
        "a,One,fresh\n,,Rotten\nb,Two,CERTIFIED_FRESH\nd,Four,Fresh,Rotten\n",
        {}, {"movie_id": ["a", "b"], "row": [1, 7]},
        [
            [2, "b", "no label: tomatometer_status is 'upcoming'"],
            [3, "a", "repeated movie_id: already in row 1, with the other label"],
            [4, "c", "malformed row: 2 fields where the header has 3"],
            [5, "a", "repeated movie_id: already in row 1"],
            [6, "", "no id: no link or title to tell the movie by either"],
            [8, "", "malformed row: 4 fields where the header has 3"],
        ],
    ),
    "ids that are not file names stay apart and are shown": (
        "movie_id,tomatometer_status\na b,Fresh\na#b,Fresh\na%b,NA\na_b,Rotten\na b,Fresh\n",
        {}, {"source_id": ["a b", "a#b", "a_b"]},
        [
            [3, "a%b", "no label: tomatometer_status is 'NA'"],
            [5, "a b", "repeated movie_id: already in row 1"],
        ],
    ),
    "whole numbers that became floats": (
        "movie_id,tomatometer_status\n17.0,Fresh\n18.0,Fresh\n", {},
        {"movie_id": ["17", "18"], "source_id": ["17.0", "18.0"]}, [],
    ),
    "names that end like floats": (
        "movie_id,tomatometer_status\nv1.0,Fresh\n2.0,Fresh\n", {}, {"movie_id": ["v1.0", "2.0"]}, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "options", "expected", "rejected"), READ.values(), ids=READ)
def test_a_table_gives_these_movies_and_rejects_those_rows(tmp_path, text, options, expected, rejected):
    table = table_of(tmp_path, text, **options)
    assert columns_of(table.movies, list(expected)) == expected
    assert table.movies["movie_id"].is_unique
    assert table.rejected.to_numpy().tolist() == rejected


def test_parquet(tmp_path):
    frame = pd.DataFrame({
        "movie_id": [101, 102, None], "title": ["Boat", "Mud", "Who"],
        "year": pd.to_datetime(["1984-05-02", None, "2011-01-01"]), "genres": [["Drama", "Comedy"], [], None],
        "tomatometer_status": pd.Categorical(["Fresh", "Rotten", "Fresh"]),
        "tomatometer_rating": [91.0, 12.5, float("nan")],
    })  # fmt: skip
    named = [[{"id": 18, "name": "Drama"}, {"id": 35, "name": "Comedy"}], [], None]
    for stored in (frame, frame.assign(genres=named, year=pd.array([1984, None, 2011], "Int64"))):
        stored.to_parquet(tmp_path / "table.csv")
        movies = read_table(tmp_path / "table.csv").movies.fillna({"year": 0, "tomatometer_rating": -1})
        assert columns_of(movies, ["movie_id", "genres", "year", "tomatometer_rating"]) == {
            "movie_id": ["101", "102", "who_2011"], "genres": ["Drama|Comedy", "", ""],
            "year": [1984, 0, 2011], "tomatometer_rating": [91.0, 12.5, -1],
        }  # fmt: skip


def test_years_and_ratings_that_cannot_be_read_are_told(tmp_path):
    text = (
        "movie_id,year,tomatometer_rating,tomatometer_status\n"
        "a,32834,91,Fresh\nb,11/22/90,NA,Rotten\nc,,130,Fresh\nd,1990,5,Fresh\ne,83,5,upcoming\n"
    )
    assert table_of(tmp_path, text).notes == (
        "2 of 4 movies have no year that can be read in column 'year', for example '32834'",
        "1 of 4 movies have no tomatometer_rating that can be read in column 'tomatometer_rating', for example '130'",
    )


# --- cells


def bare_titles(cells: pd.Series) -> pd.Series:
    return fields.split_title(cells)[0]


def years_in_titles(cells: pd.Series) -> pd.Series:
    return fields.split_title(cells)[1]


@pytest.mark.parametrize(
    ("read", "value", "texts"),
    [
        (fields.labels, 0, ["Rotten", "ROTTEN "]),
        (fields.labels, 1, ["fresh", "Certified-Fresh", "Certified Fresh", "certified_fresh"]),
        (fields.labels, None, ["", "1", "positive", "not fresh", "Fresh!"]),
        (fields.years, 1995, ["1995", "1995.0", "Released in 1995", "1995–2001", "Oct 4, 1995, Original"]),
        (fields.years, 1983, ["1983-04-29", "Apr 29, 1983", "29/04/1983", "1983-04-29T00:00:00", "29.4.1983"]),
        (fields.years, 1990, ["19901122", "19901122.0", "19901122T000000", "22.11.1990 00:00:00"]),
        (fields.years, None, ["", "soon", "83", "12345", "1066", "19901322", "20111990", "11/22/90"]),
        (fields.genres, "Drama|Comedy", [
            "Drama, Comedy", "Drama;Comedy", "Drama | Comedy", "['Drama', 'Comedy']", "['Drama' 'Comedy']",
            "[Drama, Comedy]", '[{"id": 18, "name": "Drama"}, {"id": 35, "name": "Comedy"}]',
        ]),
        (fields.genres, "Children's|Film-Noir", ["[\"Children's\", 'Film-Noir']"]),
        (fields.genres, "Comédie", ['["Com\\u00e9die"]', "[{'id': 18, 'name': 'Comédie'}]", '{"name": "Comédie"}']),
        (fields.genres, "", ["", "[]"]),
        (methodcaller("map", fields.imdb_id), "tt0114709", [
            "0114709", "114709", "tt0114709", "tt114709", "http://www.imdb.com/title/tt114709/", "114709.0",
        ]),
        (methodcaller("map", fields.imdb_id), "tt12345678", ["tt12345678"]),
        (methodcaller("map", fields.imdb_id), "", ["unknown"]),
        (methodcaller("map", fields.link_name), "m_13123", [
            "/m/13123", "m/13123", "m/13123/", "https://www.rottentomatoes.com/m/13123?x=1",
        ]),
        (bare_titles, "Toy", ["Toy (1995)", "Toy (1995–2001)"]),
        (bare_titles, "Toy (II)", ["Toy (II)"]),
        (years_in_titles, 1995, ["Toy (1995)", "Toy (1995–2001)", "2012 (1995)"]),
        (years_in_titles, None, ["Toy (II)", "2012"]),
    ],
)  # fmt: skip
def test_cells(read, value, texts):
    assert [None if pd.isna(found) else found for found in read(pd.Series(texts))] == [value] * len(texts)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["5,0", "5,1", "6"], [5.0, 5.1, 6.0]),
        (["5.0", "5,1", "10"], [5.0, 5.1, 10.0]),
        (["7.125", "66.667"], [7.125, 66.667]),
        (["1,234", "5.5"], [1234.0, 5.5]),
        (["1.234", "5,5"], [1234.0, 5.5]),
        (["1,234", "5,25"], [1.234, 5.25]),
        (["1,234,567.5", "1.5"], [1234567.5, 1.5]),
        (["1.234.567,5", "2.000"], [1234567.5, 2000.0]),
        (["1.234.567", "1.234"], [1234567.0, 1234.0]),
        (["1 234,5", "1'234"], [1234.5, 1234.0]),
        (["83%", "83 %", "83,5 %"], [83.0, 83.0, 83.5]),
        (["-0,125", "1e3", "+2"], [-0.125, 1000.0, 2.0]),
        (["12,34,5.6", "8/10", "", "a,b"], [None, None, None, None]),
    ],
)
def test_numbers_with_point_or_comma(cells, numbers):
    read = fields.numbers(pd.Series(cells, dtype=object), -1e9, 1e9, "score")
    assert [None if pd.isna(value) else value for value in read] == numbers


@pytest.mark.parametrize(
    "cells", [["1,234", "5"], ["1,234", "2,345"], ["1,234", "5,5", "6.5"], ["1.234", "5,5", "6.5"]]
)
def test_numbers_that_may_be_thousands_or_decimals_are_refused(cells):
    with pytest.raises(TableError, match=f"^votes: '{cells[0]}' may be thousands or a decimal"):
        fields.numbers(pd.Series(cells, dtype=object), 0, 1e9, "votes")


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "/abs/olute", ".hidden", "a\\b:c*d", "x" * 500, "é" * 300]
)
def test_ids_are_harmless_file_names(text):
    name = fields.safe_name(text)
    assert name
    assert not name.startswith(".")
    assert not set('/\\:*?"<>|') & set(name)
    assert len(name.encode()) <= 100


def test_ids_from_titles_stay_apart():
    pairs = [
        ("The Italian Job", 1969), ("The Italian Job", 2003), ("東京物語", 1953), ("羅生門", 1953), ("Amélie", None),
    ]  # fmt: skip
    ids = [fields.title_id(*pair) for pair in pairs]
    assert ids[0] == "the_italian_job_1969"
    assert ids[4] == "amelie"
    assert len(set(ids)) == 5
    assert fields.title_id("...", 1999) == ""


# --- tables that cannot be used

STATUS = "movie_id,tomatometer_status\na,Fresh\n"
UNUSABLE = [
    (
        "movie_id,title,tomatometer_state\na,One,Fresh\n", {},
        ": no column for the label (looked for tomatometer_status); its columns are 'movie_id', 'title', "
        "'tomatometer_state'; name the right one with --column label=NAME, or a score's with --column "
        "score=NAME and --score-threshold",
    ),
    (
        "x,tomatometer_status\na,Fresh\n", {},
        ": no column for the movie_id (looked for movie_id, movieId); its columns are 'x', "
        "'tomatometer_status'; name the right one with --column movie_id=NAME",
    ),
    (
        STATUS, {"require": ("image_url",)},
        ": no column for the image_url (looked for image_url, poster_image_url, poster_image, Poster); its "
        "columns are 'movie_id', 'tomatometer_status'; name the right one with --column image_url=NAME",
    ),
    (
        STATUS, {"columns": {"label": "tomatometer_stats"}},
        ": --column label=tomatometer_stats: no column 'tomatometer_stats' (did you mean "
        "'tomatometer_status'?); its columns are 'movie_id', 'tomatometer_status'",
    ),
    (
        STATUS, {"dialect": "imdb_genres"},
        "unknown dialect 'imdb_genres' (did you mean 'imdb_genre'?); choose one of poster_ml, "
        "rotten_tomatoes_link, movie_link, title_and_date, critic_score, imdb_genre",
    ),
    (
        SAMPLES["poster_ml"], {"columns": {"label": "genres"}},
        ": 0 of 3 rows have a usable label in column 'genres': found 'Drama|Comedy', 'Horror', 'Drama'; "
        "allowed is Rotten, Fresh, Certified Fresh or Certified-Fresh (upper and lower case alike); "
        "name another column with --column label=NAME",
    ),
    (
        "movie_id,stars\na,4\nb,3/5\nc,2/5\nd,\n", {"columns": {"score": "stars"}, "score_threshold": 3},
        ": 1 of 4 rows have a usable label in column 'stars': found '3/5', '2/5', ''; "
        "allowed is a number; name another column with --column score=NAME",
    ),
    (
        "movie_id;votes\na;1,234\nb;5\n", {"columns": {"score": "votes"}, "score_threshold": 5},
        ": column 'votes': '1,234' may be thousands or a decimal, and the other cells do not say which; "
        "write numbers with a decimal point and nothing between thousands",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "message"), UNUSABLE)
def test_a_table_that_cannot_be_used_says_what_to_name(tmp_path, text, options, message):
    assert refused(tmp_path, text, **options) == message


@pytest.mark.parametrize(
    ("option", "hint"), [("label", ""), ("label=", ""), ("lable=x", " (did you mean 'label'?)")]
)
def test_column_options_that_are_none(option, hint):
    expected = "expected role=name, for example --column label=status; roles: movie_id, imdb_id, link, "
    said = refusal(TableError, parse_column_options, [option])
    assert said.startswith(f"--column {option!r}{hint}: {expected}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is empty; give a table with a header and one row per movie"),
        (b"\xef\xbb\xbf", ": no rows below the header"),
        (b"movie_id,tomatometer_status\n", ": no rows below the header; give a table with one row per movie"),
        (b"PK\x03\x04\x14\x00\x06\x00", " is not text (an Excel or other binary file?); save the table as CSV or Parquet"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 20, " is not text"),
        (b"\xff\xfea\x00\x00\xd8", ": broken utf-16 text; fetch it again, or save the table as UTF-8"),
        (gzip.compress(b"movie_id,tomatometer_status\na,Fresh\n" * 99, mtime=0)[:-20], "cannot read table.csv: Compressed file ended"),
        (b"PAR1 and no more", " is a broken Parquet file: "),
        (b"movie_id,tomatometer_status\na,Fresh,1\nb,Rotten,2\n", ": no row fits the header: row 1 has 3 fields where the header has 2; give every field a name in the header"),
        (b"sep=;\r\n", ": no rows below the header"),
    ],
)  # fmt: skip
def test_files_that_are_no_table(tmp_path, content, message):
    assert refused(tmp_path, content).startswith(message)


def test_no_file_and_a_folder(tmp_path):
    for path, message in (
        (tmp_path / "no.csv", "no table at "),
        (tmp_path, "cannot read .*: Is a directory; "),
    ):
        with pytest.raises(TableError, match=f"^{message}.*give .* CSV, TSV or Parquet file$"):
            read_table(path)


# --- the real ones


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "dialect", "movies", "rejected", "fresh"),
    [
        ("movies.csv", "poster_ml", 6390, 0, 3759),
        ("tables/rotten_tomatoes_2019.csv", "title_and_date", 5511, 0, 2674),
        ("tables/rotten_tomatoes_scrape_sample.csv", "movie_link", 5, 1, 3),
        ("tables/rotten_tomatoes_scrape_2024.csv", "critic_score", 9738, 495, 5925),
        ("tables/movie_genre_sample.csv", "imdb_genre", 299, 0, None),
    ],
)
def test_real_tables(real_data, name, dialect, movies, rejected, fresh):
    table = read_table(real_data / name)
    assert table.layout.dialect == dialect
    assert (len(table.movies), len(table.rejected)) == (movies, rejected)
    assert table.movies["movie_id"].is_unique
    assert table.movies["year"].isna().sum() <= 1
    if fresh is not None:
        assert table.movies["label"].sum() == fresh
