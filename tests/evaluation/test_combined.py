"""Year, genres and the poster together: each movie answered by what is known of it, the same after saving."""

import numpy as np
import pandas as pd
import pytest

from poster_ml.evaluation.combined import CombinedModel
from poster_ml.evaluation.stats import structural_components


def movies(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Movies whose year, genres and poster each tell something; also the poster model's probabilities."""
    random = np.random.default_rng(seed)
    years = random.integers(1960, 2020, count)
    drama, poster = random.random(count) < 0.5, random.normal(size=count)
    chance = 1 / (1 + np.exp(-((1990 - years) / 12 + 1.2 * drama - 0.6 + poster)))
    table = pd.DataFrame(
        {
            "year": years,
            "genres": np.where(drama, "Drama|War", "Horror"),
            "label": random.random(count) < chance,
        }
    ).astype({"label": int})
    return table, 1 / (1 + np.exp(-poster))


@pytest.fixture(scope="module")
def model() -> CombinedModel:
    train, _ = movies(1500, 0)
    validation, probabilities = movies(600, 1)
    fitted = CombinedModel.fit(train, validation, probabilities, seed=3)
    assert fitted is not None
    return fitted


def test_what_is_known_of_a_movie_says_which_model_answers(model):
    table = pd.DataFrame(
        {"year": [1999, None, 1999, None], "genres": ["Drama", "Horror|Unheard of", "", None]}
    )
    assert model.used(table).tolist() == ["year_genre", "genre", "year", ""]
    alone, together = model.probabilities(table, [0.5, 0.5, 0.5, 0.5])
    assert np.isnan(alone).tolist() == np.isnan(together).tolist() == [False, False, False, True]
    by_genre = model.metadata["genre"].probabilities(table.iloc[[1]])
    assert alone[1] == by_genre[0]


def test_the_poster_adds_to_year_and_genres_where_it_knows_more(model):
    table, poster = movies(2000, 2)
    alone, together = model.probabilities(table, poster)
    areas = [structural_components(table["label"], scores)[0] for scores in (poster, alone, together)]
    assert areas[2] > max(areas[:2]) + 0.03
    # the same movies with better posters are likelier to be Fresh
    assert (model.probabilities(table, np.clip(poster + 0.2, 0, 0.99))[1] > together)[poster < 0.7].all()


def test_saved_and_loaded_it_says_the_same_and_holds_no_pickle(model, tmp_path):
    table, poster = movies(50, 4)
    model.save(tmp_path / "combined.skops")
    loaded = CombinedModel.load(tmp_path / "combined.skops")
    assert loaded.genres == model.genres == {"Drama", "War", "Horror"}
    for before, after in zip(
        model.probabilities(table, poster), loaded.probabilities(table, poster), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_a_file_with_anything_else_in_it_is_not_loaded(tmp_path):
    import skops.io

    skops.io.dump(
        {"metadata": {}, "combiners": {"year": np.linalg.LinAlgError("no classifier")}}, tmp_path / "x"
    )
    with pytest.raises((TypeError, ValueError)):
        CombinedModel.load(tmp_path / "x")


def test_without_years_and_genres_there_is_no_model():
    train, _ = movies(100, 0)
    validation, probabilities = movies(100, 1)
    bare = train.assign(year=None, genres="")
    assert CombinedModel.fit(bare, validation, probabilities, seed=0) is None
    assert CombinedModel.fit(train, validation.assign(label=1), probabilities, seed=0) is None
