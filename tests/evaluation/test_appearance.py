import json

import numpy as np
import pandas as pd
import pytest

from poster_ml.evaluation.appearance import (
    CLAIMS,
    control_columns,
    measure_appearance,
    spline_columns,
    write_appearance,
)
from poster_ml.evaluation.stats import partial_effect


def world(count: int = 1500, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Older movies have bigger titles and are Fresher; at equal year only faces matter, and titles do nothing."""
    random = np.random.default_rng(seed)
    year = random.integers(1930, 2020, count)
    old = (2020 - year) / 90
    drama = random.random(count) < 0.4
    faces = random.poisson(2, count)
    chance = np.clip(0.25 + 0.45 * old + 0.1 * drama - 0.08 * (faces - 2), 0.02, 0.98)
    posters = pd.DataFrame(
        {
            "label": (random.random(count) < chance).astype(int),
            "year": pd.array(year, dtype="Int64"),
            "genres": np.where(drama, "Drama|Crime", "Comedy"),
        }
    )
    features = pd.DataFrame(
        {
            "text_largest_share": 0.1 + 0.2 * old + random.normal(0, 0.05, count),
            "faces_count": faces.astype(float),
            "noise": random.normal(size=count),
        }
    )
    return features, posters, chance


def test_the_year_is_held_equal_so_only_what_matters_beside_it_is_left():
    features, posters, chance = world()
    table = measure_appearance(features, posters, chance).table.set_index("feature")
    titles = table.loc["text_largest_share"]
    assert titles["truth_raw_effect"] > 8
    assert abs(titles["truth_effect"]) < 3
    assert titles["truth_p_holm"] > 0.05
    # A standard deviation of a Poisson of mean 2 is 1.41 faces, each worth -8 points.
    faces, expected = table.loc["faces_count"], -8 * 1.41
    assert faces["truth_effect_ci_low"] < expected < faces["truth_effect_ci_high"]
    assert faces["model_effect"] == pytest.approx(expected, abs=1)
    assert faces["truth_p_holm"] < 0.001
    assert table.index[0] == "faces_count"


def test_claims_are_evaluated_by_direction_and_corrected_chance():
    features, posters, chance = world()
    result = measure_appearance(features, posters, chance)
    titles, crowds, sizes = result.claims
    assert titles.verdicts["truth"] == "not shown"
    assert crowds.verdicts == {"truth": "supported", "model": "supported"}
    assert sizes.verdicts == {}
    assert sizes.sentence == (
        "Claim: the characters of Rotten posters are of one size. Not tested: none of "
        "figures_size_regularity, faces_size_regularity was measured."
    )
    against = measure_appearance(features, posters.assign(label=1 - posters["label"]), 1 - chance)
    assert against.claims[1].verdicts == {"truth": "opposite", "model": "opposite"}
    start, rest = crowds.sentence.split(": -1", 1)
    assert start == "Claim: Rotten posters show many characters. Supported by the critics' verdicts"
    assert rest.endswith("; per standard deviation of number of faces, at equal year and genre.")


def test_intervals_cover_and_false_alarms_are_rare():
    truth, covered, alarms = -2.0, 0, 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        control = np.column_stack([np.ones(120), random.normal(size=120)])
        feature = control[:, 1] + random.normal(size=120)
        # The noise grows with the feature: least squares alone would be too sure.
        noise = random.normal(size=120) * (0.5 + np.abs(feature))
        interval, _ = partial_effect(feature, truth * feature + 3 * control[:, 1] + noise, control, 0.95)
        covered += interval.low <= truth <= interval.high
        _, p_value = partial_effect(feature, noise, control, 0.95)
        alarms += p_value < 0.05
    assert 0.92 <= covered / 300 <= 0.98
    assert alarms / 300 <= 0.08


def test_what_the_controls_explain_is_not_asked_and_a_poster_with_a_control_to_itself_says_nothing():
    """One poster without a year has a column of its own: its leverage is 1, by which HC3 would divide by 0."""
    controls = np.column_stack([np.ones(50), np.arange(50.0)])
    assert partial_effect(3 * np.arange(50.0) + 1, np.arange(50.0) % 2, controls, 0.95) is None
    assert partial_effect(np.arange(8.0) ** 2, np.arange(8.0), controls[:8], 0.95) is None
    random = np.random.default_rng(4)
    feature, outcome, alone = random.normal(size=80), random.normal(size=80), np.eye(80)[:, :1]
    control = np.column_stack([np.ones(80), random.normal(size=80)])
    with_it, p_value = partial_effect(feature, outcome, np.column_stack([control, alone]), 0.95)
    without, expected = partial_effect(feature[1:], outcome[1:], control[1:], 0.95)
    assert (with_it.low, p_value) == pytest.approx((without.low, expected))


def test_controls_are_a_spline_of_the_year_and_the_frequent_genres():
    _, posters, _ = world(300)
    columns, notes = control_columns(posters)
    assert columns.shape == (300, 1 + 4 + 3)  # Comedy, Crime, Drama
    assert notes == []
    posters.loc[:9, "year"] = pd.NA
    posters.loc[:4, "genres"] = "Western"  # too few for a column
    columns, notes = control_columns(posters)
    assert columns.shape == (300, 1 + 4 + 1 + 3)
    assert columns[:, 5].sum() == 10
    bare, notes = control_columns(posters[["label"]])
    assert bare.shape == (300, 1)
    assert [note.split(",")[0] for note in notes] == ["Not held equal: the year", "Not held equal: genres"]


def test_the_spline_bends_between_the_knots_and_is_straight_beyond():
    years = np.linspace(1920, 2020, 401)
    columns = spline_columns(years)
    assert columns.shape == (401, 4)
    bend = np.abs(np.diff(columns, n=2, axis=0)).max(axis=1)
    assert bend[:15].max() < 1e-12
    assert bend[-15:].max() < 1e-9
    assert bend[200] > 1e-6
    assert spline_columns(np.array([1.0, 1, 2, 2])).shape == (4, 1)


def test_what_was_measured_on_few_posters_or_never_varies_is_left_out_and_said():
    features, posters, chance = world(200)
    features["text_share"] = np.where(np.arange(200) < 49, np.arange(200.0), np.nan)
    features["warmth"] = 0.5
    result = measure_appearance(features, posters, chance)
    assert set(result.table["feature"]) == {"text_largest_share", "faces_count", "noise"}
    (note,) = result.notes
    assert note.startswith("Not asked, for want of variation or of 50 posters: share covered by lines of ")
    assert note.endswith("text, warmth (red over blue).")
    nothing = measure_appearance(features[["warmth"]], posters, chance)
    assert len(nothing.table) == 0
    assert [claim.verdicts for claim in nothing.claims] == [{}] * len(CLAIMS)


def test_one_odd_poster_does_not_decide():
    features, posters, chance = world(400)
    features.loc[0, "noise"] = 1e9
    table = measure_appearance(features, posters, chance).table.set_index("feature")
    assert table.loc["noise", "standard_deviation"] < 2
    assert table.loc["noise", "truth_p"] > 0.001


def test_files_are_written_and_read_back(tmp_path):
    features, posters, chance = world(300)
    result = measure_appearance(features, posters, chance)
    write_appearance(tmp_path, result)
    table = pd.read_csv(tmp_path / "appearance.csv")
    pd.testing.assert_frame_equal(table, result.table, rtol=1e-4)
    record = json.loads((tmp_path / "appearance.json").read_text())
    assert record["sentences"] == [claim.sentence for claim in result.claims]
    assert record["claims"][1]["verdicts"]["truth"] == "supported"
    assert (tmp_path / "appearance.png").read_bytes().startswith(b"\x89PNG")
    empty = tmp_path / "empty"
    write_appearance(empty, measure_appearance(features[[]], posters, chance))
    assert sorted(file.name for file in empty.iterdir()) == ["appearance.csv", "appearance.json"]
