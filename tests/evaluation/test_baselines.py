from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from poster_ml.evaluation.baselines import (
    colour_baseline,
    colour_histograms,
    majority_accuracy,
    metadata_baselines,
    poster_gain,
)


def movies(count: int, seed: int) -> pandas.DataFrame:
    """Old movies are Fresh, dramas are Fresh; both add up."""
    random = np.random.default_rng(seed)
    year = random.integers(1930, 2020, count)
    drama = random.random(count) < 0.5
    odds = (1975 - year) / 20 + 1.5 * (drama - 0.5)
    return pandas.DataFrame(
        {
            "movie_id": [f"tt{seed}_{number}" for number in range(count)],
            "year": pandas.array(year, dtype="Int64"),
            "genres": np.where(drama, "Drama|War", "Comedy"),
            "label": (random.random(count) < 1 / (1 + np.exp(-odds))).astype(int),
        }
    )


def test_year_and_genres_together_beat_each_alone() -> None:
    found = metadata_baselines(movies(1500, 0), movies(800, 1), seed=0, confidence=0.95)
    assert list(found) == ["year", "genre", "year_genre"]
    aucs = {name: item.roc_auc.estimate for name, item in found.items()}
    assert aucs["year_genre"] > aucs["year"] > aucs["genre"] > 0.55
    assert all(item.probabilities.shape == (800,) for item in found.values())


def test_missing_years_and_new_genres_are_scored_all_the_same() -> None:
    test = movies(100, 1)
    test.loc[:30, "year"] = pandas.NA
    test.loc[10:40, "genres"] = "Opera"
    test.loc[50:60, "genres"] = ""
    test.loc[61:65, "genres"] = None
    found, again = (metadata_baselines(movies(300, 0), test, seed=4, confidence=0.95) for _ in "ab")
    assert np.isfinite(found["year_genre"].probabilities).all()
    np.testing.assert_array_equal(found["year_genre"].probabilities, again["year_genre"].probabilities)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"year": None}, ["genre"]),
        ({"genres": ""}, ["year"]),
        ({"year": None, "genres": ""}, []),
        ({"year": 2000}, ["genre"]),
    ],
)
def test_what_the_table_does_not_know_gives_no_baseline(changes: dict, left: list[str]) -> None:
    train, test = movies(200, 0), movies(80, 1)
    assert list(metadata_baselines(train.assign(**changes), test, seed=0, confidence=0.95)) == left
    assert list(metadata_baselines(train, test.assign(**changes), seed=0, confidence=0.95)) == left


def test_a_train_split_of_one_class_gives_no_baseline() -> None:
    assert metadata_baselines(movies(50, 0).assign(label=1), movies(50, 1), seed=0, confidence=0.95) == {}


def test_the_majority_is_the_train_splits() -> None:
    assert majority_accuracy([1, 1, 1, 0]) == 0.75
    assert majority_accuracy([1, 1, 1, 0], [0, 0, 1]) == 0.25


def test_a_histogram_counts_colours_of_non_square_images() -> None:
    images = np.zeros((2, 6, 4, 3), np.uint8)
    images[1, :3] = [255, 0, 100]
    shares = colour_histograms(images, [1, 0])
    assert shares.shape == (2, 64)
    assert shares[0, 0] == shares[0, 3 * 16 + 0 * 4 + 1] == 0.5
    assert shares[1, 0] == 1.0


def test_the_colour_baseline_finds_a_planted_colour() -> None:
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 60)
    images = random.integers(0, 120, (120, 8, 12, 3), dtype=np.uint8)
    images[labels == 1, :, :4, 0] += 100
    rows = np.arange(120)
    found = colour_baseline(images, rows[:80], labels[:80], rows[80:], labels[80:], confidence=0.95)
    assert found is not None
    assert found.roc_auc.estimate > 0.95
    assert colour_baseline(images, rows[:4], np.ones(4), rows[80:], labels[80:], confidence=0.95) is None


def with_signal(table: pandas.DataFrame, strength: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=len(table))
    return 1 / (1 + np.exp(-(strength * (table["label"].to_numpy() - 0.5) + noise)))


def test_a_poster_that_knows_more_gains() -> None:
    train, validation, test = movies(1500, 0), movies(600, 1), movies(600, 2)
    own = {"validation": validation, "validation_probabilities": with_signal(validation, 1.5, 1)}
    found = poster_gain(train, test, with_signal(test, 1.5, 0), seed=0, confidence=0.95, **own)
    assert found is not None
    assert found.gain.low > 0
    metadata = metadata_baselines(train, test, seed=0, confidence=0.95)["year_genre"].roc_auc
    assert found.gain.estimate == pytest.approx(found.combined_auc.estimate - metadata.estimate)
    assert found.design == "combination fitted on 600 posters of another split"
    assert not found.optimistic


def test_a_copy_of_the_year_or_noise_gains_nothing_in_either_design() -> None:
    train, validation, test = movies(1500, 0), movies(600, 1), movies(600, 2)
    random = np.random.default_rng(0)
    copied, drawn = 1 / (1 + np.exp((test["year"].to_numpy(float) - 1975) / 20)), random.random(600)
    other = {"validation": validation, "validation_probabilities": random.random(600)}
    for probabilities, options in ((copied, {}), (drawn, {}), (drawn, other)):
        found = poster_gain(train, test, probabilities, seed=0, confidence=0.95, **options)
        assert found is not None
        assert -0.02 < found.gain.estimate < 0.01
        assert found.optimistic == (not options), "these posters chose the epoch as well"


def test_no_gain_where_metadata_or_posters_are_missing() -> None:
    train, test = movies(200, 0), movies(60, 1)
    lonely = test.assign(label=[1] + [0] * 59)
    for fitted, asked in ((train.assign(year=None), test), (train, test.assign(genres="")), (train, lonely)):
        assert poster_gain(fitted, asked, np.full(60, 0.5), seed=0, confidence=0.95) is None
    with pytest.raises(ValueError, match="given together"):
        poster_gain(train, test, np.full(60, 0.5), seed=0, confidence=0.95, validation=test)


@pytest.mark.real
def test_the_real_table_gives_the_studys_baselines(real_data: Path) -> None:
    from sklearn.model_selection import train_test_split

    table = pandas.read_csv(real_data / "movies.csv")
    table["label"] = (table["tomatometer_status"] == "Fresh").astype(int)
    train, test = train_test_split(table, test_size=0.2, random_state=42)
    found = metadata_baselines(train, test, seed=0, confidence=0.95)
    # study.md, measured on a superset.
    for name, expected in {"year": 0.633, "genre": 0.682, "year_genre": 0.750}.items():
        assert found[name].roc_auc.estimate == pytest.approx(expected, abs=0.035), name
