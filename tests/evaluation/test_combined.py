"""Year, genres and the poster together: each movie answered by what is known of it, the same after saving."""

import numpy as np
import pandas as pd
import pytest
import skops.io

from poster_ml.evaluation.combined import CombinedModel
from poster_ml.evaluation.stats import structural_components
from tests.evaluation.worlds import movies, said


@pytest.fixture(scope="module")
def model():
    validation = movies(600, 1)
    fitted = CombinedModel.fit(movies(1500, 0), validation, said(validation, seed=1), seed=3)
    assert fitted is not None
    return fitted


def test_what_is_known_of_a_movie_says_which_model_answers(model):
    genres = ["Drama", "Comedy|Unheard of", "", None]
    table = pd.DataFrame({"year": [1999, None, 1999, None], "genres": genres})
    assert model.used(table).tolist() == ["year_genre", "genre", "year", ""]
    alone, together = model.probabilities(table, [0.5, 0.5, 0.5, 0.5])
    assert np.isnan(alone).tolist() == np.isnan(together).tolist() == [False, False, False, True]
    by_genre = model.metadata["genre"].probabilities(table.iloc[[1]])
    assert alone[1] == by_genre[0]


def test_the_poster_adds_to_year_and_genres_where_it_knows_more(model):
    table = movies(2000, 2)
    poster = said(table)
    alone, together = model.probabilities(table, poster)
    areas = [structural_components(table["label"], scores)[0] for scores in (poster, alone, together)]
    assert areas[2] > max(areas[:2]) + 0.03
    # the same movies with better posters are likelier to be Fresh
    assert (model.probabilities(table, np.clip(poster + 0.2, 0, 0.99))[1] > together)[poster < 0.7].all()


def test_saved_and_loaded_it_says_the_same_and_holds_no_pickle(model, tmp_path):
    table = movies(50, 4)
    model.save(tmp_path / "combined.skops")
    loaded = CombinedModel.load(tmp_path / "combined.skops")
    assert loaded.genres == model.genres == {"Drama", "War", "Comedy"}
    before, after = (one.probabilities(table, said(table)) for one in (model, loaded))
    np.testing.assert_array_equal(before, after)


def test_a_file_with_anything_else_in_it_is_not_loaded(tmp_path):
    anything = np.linalg.LinAlgError("no classifier")
    skops.io.dump({"metadata": {}, "combiners": {"year": anything}}, tmp_path / "x")
    with pytest.raises((TypeError, ValueError)):
        CombinedModel.load(tmp_path / "x")


def test_without_years_and_genres_there_is_no_model():
    train, validation = movies(100, 0), movies(100, 1)
    for fitted, other in (
        (train.assign(year=None, genres=""), validation),
        (train, validation.assign(label=1)),
    ):
        assert CombinedModel.fit(fitted, other, said(validation), seed=0) is None
