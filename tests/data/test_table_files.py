"""Table files as programs really write them: no row is merged into another, none is lost, titles stay."""

import csv
import gzip
import io
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poster_ml.data.table_files import read_raw
from poster_ml.data.tables import MovieTable, read_table

HEADER = ["movie_id", "title", "year", "tomatometer_status"]


def table_of(folder: Path, text: str, encoding: str = "utf-8") -> MovieTable:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return read_table(path)


def titles_of(folder: Path, text: str, encoding: str = "utf-8") -> list[str]:
    table = table_of(folder, text, encoding)
    assert len(table.rejected) == 0
    return list(table.movies["title"])


def rows(*titles: str, delimiter: str = ",") -> str:
    """A table as somebody writes it who knows no quotes."""
    lines = [[f"m{at}", title, "1990", "Fresh"] for at, title in enumerate(titles)]
    return "".join(delimiter.join(line) + "\n" for line in [HEADER, *lines])


# --- quotes that are not quotes


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize(
    "titles",
    [
        ['"Weird Al" Story', "Plain"],
        ['"Unclosed', "Plain", "Last"],
        ['"Rome Open City', "Between", '"Other', "Last"],
        ['"Rome', "Between", 'Other"', "Last"],
        ['"Rome', 'Other"', '"', "Last"],
        ['Say "hi"', 'The "x', 'y"'],
    ],
)
def test_lone_quotes_belong_to_their_titles(tmp_path, delimiter, titles):
    assert titles_of(tmp_path, rows(*titles, delimiter=delimiter)) == titles


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        # In a table that is never quoted all quotes belong to titles.
        *(
            (rows('"Crocodile"', '"A" and "B"', '"Lone', delimiter=mark), ['"Crocodile"', '"A" and "B"', '"Lone'])
            for mark in "\t|"
        ),
        # One lone quote leaves proper quotes around it alone.
        (rows('"One, ""Two"""', '"Lone', '"Line\nbreak, and more"', '"Last"'),
         ['One, "Two"', '"Lone', "Line break, and more", "Last"]),
        # Nobody doubled the quotes inside quotes.
        (rows('"Foo, "Bar" Baz"', '"The "End""', '"A" ', '"Plain, one"'),
         ['Foo, "Bar" Baz', 'The "End"', "A", "Plain, one"]),
        # A space follows every comma.
        (rows('"Rome', "Between", 'Other"', "Last").replace(",", ", "), ['"Rome', "Between", 'Other"', "Last"]),
        ('movie_id, title, tomatometer_status\nm0, "Foo, Bar" , Fresh\nm1, "B", Rotten\n', ["Foo, Bar", "B"]),
        # Excel's first line tells the delimiter.
        ("\ufeffsep=;\r\n" + rows("A, b, c, d, e", delimiter=";"), ["A, b, c, d, e"]),
        ('\ufeff"sep=;"\r\n' + rows("A, b, c, d, e", delimiter=";"), ["A, b, c, d, e"]),
        ("SEP=\t\n" + rows("A", delimiter="\t"), ["A"]),
        ("sep=^\n" + rows("A", delimiter="^"), ["A"]),
        # A header that ends in a comma, and rows with or without one.
        ("movie_id,title,tomatometer_status,\na,One,Fresh\nb,Two,Fresh,\n", ["One", "Two"]),
    ],
)  # fmt: skip
def test_titles_stay_as_they_stand(tmp_path, text, titles):
    assert titles_of(tmp_path, text) == titles


@pytest.mark.parametrize(
    ("text", "movie_ids", "rejected"),
    [
        # A quote never closed costs its own row only.
        ('movie_id,tomatometer_status\na,Fresh\nb,"Fresh\nc,Rotten\n', ["a", "c"],
         [[2, "b", "no label: tomatometer_status is '\"Fresh'"]]),
        # Short rows lack their last cells only.
        ("movie_id,tomatometer_status,title,notes\na,Fresh,One,x\nb,Rotten,Two\nc,Fresh\nd\n", ["a", "b", "c"],
         [[4, "d", "malformed row: 1 fields where the header has 4"]]),
        # Empty fields beyond the header are not fields.
        ("movie_id,title,tomatometer_status\na,One,Fresh,\nb,Two,Rotten,, \nc,Thr,ee,Fresh\n", ["a", "b"],
         [[3, "", "malformed row: 4 fields where the header has 3"]]),
    ],
)  # fmt: skip
def test_rows_that_are_not_whole(tmp_path, text, movie_ids, rejected):
    table = table_of(tmp_path, text)
    assert list(table.movies["movie_id"]) == movie_ids
    assert table.rejected.to_numpy().tolist() == rejected


def test_rows_inside_a_quoted_field_are_rows_and_texts_with_commas_are_texts(tmp_path):
    text = 'movie_id,tomatometer_status,plot\na,Fresh,"One, two, three\nfour, five, six"\nb,Rotten,"x\nc,Fresh,y"\n'
    table = table_of(tmp_path, text)
    assert list(table.movies["movie_id"]) == ["a", "b", "c"]
    plots = read_raw(tmp_path / "table.csv")[0]["plot"]
    assert list(plots) == ["One, two, three\nfour, five, six", '"x', 'y"']


def test_many_rows_with_line_breaks_and_long_texts_keep_their_numbers(tmp_path):
    lines = [",".join([*HEADER, "plot"]), "id0,First,2001,Fresh," + "x" * 300_000]
    lines += [f'id{n},"Line\nbreak {n}",2001,{"NA" if n == 9_999 else "Rotten"},x' for n in range(1, 10_001)]
    table = table_of(tmp_path, "\n".join(lines))
    assert len(table.movies) == 10_000
    assert table.movies.title[1] == "Line break 1"
    assert table.movies.movie_id.iloc[-1] == "id10000"
    assert table.rejected.to_numpy().tolist() == [[10_000, "id9999", "no label: tomatometer_status is 'NA'"]]


# --- encodings


@pytest.mark.parametrize(
    ("encoding", "titles"),
    [
        *((name, ["Amélie – 東京"]) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        ("cp1251", ["Ирония судьбы", "Иди и смотри", "Москва слезам не верит", "Plain"]),
        ("koi8_r", ["Ирония судьбы", "Иди и смотри", "Москва слезам не верит", "Plain"]),
        ("euc_kr", ["기생충", "살인의 추억", "올드보이", "Plain"]),
        ("gb18030", ["霸王别姬", "一代宗师", "卧虎藏龙", "花样年华", "英雄", "活着"]),
        ("cp1252", ["Señor López", "São Paulo não", "Déjà Vu", "Çözüm", "Das süße Leben", "It’s “Alive”"]),
        ("cp1252", ["Señor López", "Plain"]),
        ("cp1252", ["Ärger", "Über uns"]),
        ("latin-1", ["Am\xe9lie \x81"]),
    ],
)  # fmt: skip
def test_encodings(tmp_path, encoding, titles):
    assert titles_of(tmp_path, rows(*titles), encoding) == titles
    assert read_table(tmp_path / "table.csv").encoding == encoding


# --- the promise: every row is among the movies or among the rejected

LETTERS = "abz AZ09\"',;|\t.–éüñß"
WORDS = st.text(LETTERS, min_size=1, max_size=12)
BREAKS = st.sampled_from(["a\nb", 'é\r\n"b"', "x\n\ny"])  # a line of a text is not a row: no delimiters in it


@st.composite
def written_tables(draw: st.DrawFn) -> tuple[bytes, list[str], list[str]]:
    """A table as bytes, the titles and the labels of its rows."""
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    delimiter = draw(st.sampled_from(",;\t|"))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    titles = draw(st.lists(WORDS | BREAKS, min_size=1, max_size=12))
    if encoding == "cp1252":  # which is told from other alphabets by accented letters that stand alone
        titles = [re.sub(r"([^\x00-\x7f])[^\x00-\x7f]+", r"\1", title) for title in titles]
    labels = draw(
        st.lists(st.sampled_from(["Fresh", "rotten", "NA", ""]), min_size=len(titles), max_size=len(titles))
    )
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=delimiter, quoting=quoting, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    )
    writer.writerow(["movie_id", "title", "year", "tomatometer_status", "plot"])
    writer.writerow(["first", "First", 1990, "Fresh", "x"])  # a table needs one label
    writer.writerows(
        [f"m{at}", title, 1990, label, "x"]
        for at, (title, label) in enumerate(zip(titles, labels, strict=True))
    )
    content = text.getvalue().encode(encoding)
    return draw(st.sampled_from([content, gzip.compress(content)])), titles, labels


def read_bytes(content: bytes) -> MovieTable:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(content)
        return read_table(path)


@settings(max_examples=50, deadline=None)
@given(written_tables())
def test_written_by_a_program_every_row_comes_back_with_its_title(written):
    content, titles, labels = written
    table = read_bytes(content)
    assert sorted([*table.movies["row"], *table.rejected["row"]]) == list(range(1, len(titles) + 2))
    usable = [
        " ".join(title.split())
        for title, label in zip(titles, labels, strict=True)
        if label in ("Fresh", "rotten")
    ]
    assert list(table.movies["title"]) == ["First", *usable]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text("ab \"'é", min_size=1, max_size=8), min_size=1, max_size=15), st.sampled_from(",;\t|")
)
def test_written_without_quoting_every_line_is_a_row(titles, delimiter):
    titles = [title.strip() for title in titles]  # a comma and a space would be those of a text
    table = read_bytes(rows("First", *titles, delimiter=delimiter).encode())
    assert sorted([*table.movies["row"], *table.rejected["row"]]) == list(range(1, len(titles) + 2))
    assert len(table.rejected) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text('a ",\n', max_size=10), max_size=12))
def test_any_lines_at_all_lose_no_good_row(lines):
    good = [f"g{at},Good,1990,Fresh" for at in range(len(lines) + 1)]
    pairs = [good[0], *(text for line, row in zip(lines, good[1:], strict=True) for text in (line, row))]
    table = read_bytes("\n".join([",".join(HEADER), *pairs, ""]).encode())
    assert {row.partition(",")[0] for row in good} <= set(table.movies["movie_id"])
