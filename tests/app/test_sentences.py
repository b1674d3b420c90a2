"""The page's sentences: right numbers, honest words."""

import pytest

from poster_ml.app.sentences import design_pair, hidden_box, percent, points, similar, with_metadata


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.004, "under 1 %"), (0.636, "64 %"), (0.996, "over 99 %"), (1.0, "100 %")],
)
def test_shares_are_percents_and_never_certain_by_rounding(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [(0.06, "+6 points"), (-0.01, "−1 point"), (0.004, "no change"), (-0.123, "−12 points")],
)
def test_changes_are_points(change, text):
    assert points(change) == text


def test_a_prediction_says_how_many_posters_like_it_were_fresh():
    row = {
        "probability_fresh": 0.61, "similar_share": 0.64, "similar_share_ci_low": 0.57,
        "similar_share_ci_high": 0.7, "similar_count": 204,
    }  # fmt: skip
    assert similar(row) == "Of 204 posters that scored like this one, 64 % were Fresh (57 % to 70 %)."
    assert similar({"probability_fresh": 0.61}) == ""


def test_the_poster_adds_or_costs_at_its_year_and_genres():
    row = {"probability_metadata": 0.58, "probability_combined": 0.53, "poster_effect": -0.05}
    assert with_metadata(row) == (
        "Movies like it by year and genres, as far as known, are Fresh in 58 % of cases; with this poster it is 53 % "
        "(−5 points)."
    )
    assert with_metadata({"probability_combined": None}) == ""


def box(change: float, mean: float | None = -0.01, spread: float | None = 0.01) -> dict:
    return {"change": change, "elsewhere_mean": mean, "elsewhere_spread": spread, "elsewhere": 16}


def test_a_hidden_box_is_a_finding_only_beside_boxes_elsewhere():
    assert "That is more than chance" in hidden_box(box(-0.08))
    assert "That is nothing special" in hidden_box(box(-0.02))
    assert "That is nothing special" in hidden_box(box(0.004, mean=0.0, spread=0.0))  # no spread, no change
    assert "no room for others" in hidden_box(box(-0.08, None, None))


def test_designs_that_are_not_told_apart_are_not_put_in_order():
    pair = {
        "share": 0.6, "share_ci_low": 0.55, "share_ci_high": 0.65, "count": 12345, "told_apart": True,
    }  # fmt: skip
    assert design_pair(pair, "A", "B") == (
        "A before B: in 12,345 pairs of comparable movies with at least this difference, "
        "the one ahead was the Fresh one in 60 % (55 % to 65 %)."
    )
    assert design_pair({**pair, "told_apart": False}, "A", "B").startswith("A and B cannot be told apart")
