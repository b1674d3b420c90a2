"""Years and genres of a request: what is read, what is left out, and that the row is told."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster_ml.serving.movie_facts import read_facts

KNOWN = {"Drama", "Science Fiction & Fantasy", "War"}


@pytest.mark.parametrize("cell", [1880, 1999.0, "1999", " 1999 ", np.int64(1999), np.float32(1999), 2100])
def test_a_year_is_read_from_numbers_and_text(cell):
    table, notes = read_facts([cell], [None], KNOWN)
    assert table["year"].tolist() == [float(cell)]
    assert notes == [None]


@pytest.mark.parametrize("cell", [None, math.nan, "", "  ", pd.NA])
def test_an_unknown_year_and_unknown_genres_need_no_note(cell):
    table, notes = read_facts([cell], [cell], KNOWN)
    assert np.isnan(table["year"][0])
    assert table["genres"][0] == ""
    assert notes == [None]


@pytest.mark.parametrize("cell", [1879, 2101, 1999.5, "19x9", True, [1999], {"year": 1999}, math.inf, -1])
def test_what_is_no_year_is_ignored_and_said(cell):
    table, notes = read_facts([cell], ["War"], KNOWN)
    assert np.isnan(table["year"][0])
    assert notes == [f"year {cell!r} was ignored: give a whole number from 1880 to 2100"]


@pytest.mark.parametrize("cell", ["drama|WAR", ["Drama", "War"], "War | Drama|War|"])
def test_genres_are_read_in_any_case_and_each_once(cell):
    table, notes = read_facts([None], [cell], KNOWN)
    assert set(table["genres"][0].split("|")) == {"Drama", "War"}
    assert notes == [None]


def test_a_genre_that_the_model_does_not_know_is_left_out_and_said():
    table, notes = read_facts([1999], ["War|Nonsense"], KNOWN)
    assert table["genres"][0] == "War"
    known = "Drama, Science Fiction & Fantasy, War"
    assert notes == [f"unknown genres were ignored: 'Nonsense'; known: {known}"]


def test_both_notes_stand_in_one_line():
    _, notes = read_facts(["soon"], [7], KNOWN)
    assert notes == [
        "year 'soon' was ignored: give a whole number from 1880 to 2100; "
        "genres 7 were ignored: give names with | between them"
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
)


@given(st.lists(st.tuples(json_values, json_values), min_size=1, max_size=5))
def test_nothing_in_a_request_breaks_the_reading(cells):
    table, notes = read_facts(*zip(*cells, strict=True), KNOWN)
    assert len(table) == len(notes) == len(cells)
    assert all(math.isnan(year) or 1880 <= year <= 2100 for year in table["year"])
    assert all(set(names.split("|")) <= KNOWN | {""} for names in table["genres"])
