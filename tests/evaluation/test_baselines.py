import numpy as np
import pandas
import pytest
from sklearn.metrics import roc_auc_score

from poster_ml.evaluation.baselines import (
    Combination,
    colour_histograms,
    cross_fitted,
    fit_baselines,
    majority_accuracy,
    poster_gain,
)
from poster_ml.evaluation.combined import CombinedModel
from tests.evaluation.worlds import movies, said


def areas(train: pandas.DataFrame, test: pandas.DataFrame) -> dict[str, float]:
    found, _ = fit_baselines(train, test, seed=0)
    return {name: roc_auc_score(test["label"], scores) for name, scores in found.items()}


def test_year_and_genres_together_beat_each_alone():
    found = areas(movies(1500, 0), movies(800, 1))
    assert list(found) == ["year", "genre", "year_genre"]
    assert found["year_genre"] > found["year"] > found["genre"] > 0.55


def test_missing_years_and_new_genres_are_scored_all_the_same():
    test = movies(100, 1)
    test.loc[:30, "year"] = pandas.NA
    test.loc[10:40, "genres"] = "Opera"
    test.loc[50:60, "genres"] = ""
    test.loc[61:65, "genres"] = None
    found, again = (fit_baselines(movies(300, 0), test, seed=4)[0]["year_genre"] for _ in "ab")
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"year": None}, ["genre"]),
        ({"genres": ""}, ["year"]),
        ({"year": None, "genres": ""}, []),
        ({"year": 2000}, ["genre"]),
    ],
)
def test_what_the_table_does_not_know_gives_no_baseline_and_a_note(changes, left):
    train, test = movies(200, 0), movies(80, 1)
    for fitted, scored in ((train.assign(**changes), test), (train, test.assign(**changes))):
        found, notes = fit_baselines(fitted, scored, seed=0)
        assert list(found) == left
        assert len(notes) == 3 - len(left)
        assert all(note.startswith("No baseline of ") for note in notes)
    assert fit_baselines(train.assign(label=1), test, seed=0)[0] == {}
    message = "No baselines: these posters are among the ones that the baselines would be fitted on."
    assert fit_baselines(train, train[:9], seed=0) == ({}, [message])


def test_the_majority_is_the_train_splits():
    assert majority_accuracy([1, 1, 1, 0]) == 0.75
    assert majority_accuracy([1, 1, 1, 0], [0, 0, 1]) == 0.25


def test_a_histogram_counts_colours_of_non_square_images():
    images = np.zeros((2, 6, 4, 3), np.uint8)
    images[1, :3] = [255, 0, 100]
    expected = np.zeros((2, 64))
    expected[0, [0, 3 * 16 + 0 * 4 + 1]] = 0.5
    expected[1, 0] = 1.0
    np.testing.assert_array_equal(colour_histograms(images, [1, 0]), expected)


def test_the_colour_baseline_finds_a_planted_colour():
    train, test = movies(80, 0), movies(40, 1)
    images = np.random.default_rng(0).integers(0, 120, (120, 8, 12, 3), dtype=np.uint8)
    images[np.r_[train["label"], test["label"]] == 1, :, :4, 0] += 100
    colours = colour_histograms(images, np.arange(80)), colour_histograms(images, np.arange(80, 120))
    assert roc_auc_score(test["label"], fit_baselines(train, test, colours, seed=0)[0]["colour"]) > 0.95
    assert "colour" not in fit_baselines(train.assign(label=1), test, colours, seed=0)[0]


def gain_of(test, probabilities, combination):
    return poster_gain(test["label"].to_numpy(), probabilities, combination, 0.95)


def combined(model, test, probabilities):
    return Combination(*model.probabilities(test, probabilities), "", optimistic=False)


def test_a_poster_that_knows_more_gains():
    train, validation, test = movies(1500, 0), movies(600, 1), movies(600, 2)
    model = CombinedModel.fit(train, validation, said(validation, 1.5, 1), seed=0)
    found = gain_of(test, said(test, 1.5), combined(model, test, said(test, 1.5)))
    assert model.posters == 600
    gain = found["poster_beyond_metadata_auc_gain"]
    assert gain.low > 0
    expected = found["year_genre_poster_roc_auc"].estimate - areas(train, test)["year_genre"]
    assert gain.estimate == pytest.approx(expected)


def test_a_copy_of_the_year_or_noise_gains_nothing_in_either_design():
    train, validation, test = movies(1500, 0), movies(600, 1), movies(600, 2)
    random = np.random.default_rng(0)
    copied, drawn = 1 / (1 + np.exp((test["year"].to_numpy(float) - 1975) / 20)), random.random(600)
    other = CombinedModel.fit(train, validation, random.random(600), seed=0)
    for probabilities, known in (
        (copied, cross_fitted(train, test, copied, seed=0)),
        (drawn, cross_fitted(train, test, drawn, seed=0)),
        (drawn, combined(other, test, drawn)),
    ):
        gain = gain_of(test, probabilities, known)["poster_beyond_metadata_auc_gain"]
        assert -0.02 < gain.estimate < 0.01


def test_no_gain_where_metadata_or_posters_are_missing():
    train, test = movies(200, 0), movies(60, 1)
    lonely = test.assign(label=[1] + [0] * 59)
    for fitted, asked in ((train.assign(year=None), test), (train, test.assign(genres="")), (train, lonely)):
        assert cross_fitted(fitted, asked, np.full(60, 0.5), seed=0) is None
    half = np.full(60, 0.5)
    known = Combination(half, np.where(test["label"] == 1, 0.5, np.nan), "", optimistic=False)
    assert gain_of(test, half, known) == {}, "known of one class only"


@pytest.mark.real
def test_the_real_table_gives_the_studys_baselines(real_data):
    from sklearn.model_selection import train_test_split

    table = pandas.read_csv(real_data / "movies.csv")
    table["label"] = (table["tomatometer_status"] == "Fresh").astype(int)
    found = areas(*train_test_split(table, test_size=0.2, random_state=42))
    # study.md, measured on a superset.
    assert found == pytest.approx({"year": 0.633, "genre": 0.682, "year_genre": 0.750}, abs=0.035)
