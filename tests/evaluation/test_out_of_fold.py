"""The joined scores of a cross-validation, against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.out_of_fold import cross_validate, join_folds

# Two folds. Within the first 3 of the 4 pairs are in order, within the second 1 of 2; across folds the second
# network's scores are all higher, which would say something of its scale alone.
FIRST = pd.DataFrame(
    {
        "movie_id": ["a", "c", "e", "g"],
        "label": [1, 0, 1, 0],
        "probability": [0.4, 0.3, 0.2, 0.1],
        "probability_metadata": [0.6, 0.5, 0.4, 0.55],  # 2 of 4
        "probability_combined": [0.6, 0.5, 0.56, 0.55],  # 4 of 4
        "fold": "1/2",
        "threshold": 0.35,
    }
)
SECOND = pd.DataFrame(
    {
        "movie_id": ["b", "d", "f"],
        "label": [0, 1, 0],
        "probability": [0.7, 0.8, 0.9],
        "probability_metadata": [0.1, 0.2, 0.3],  # 1 of 2
        "probability_combined": [0.1, 0.4, 0.3],  # 2 of 2
        "fold": "2/2",
        "threshold": 0.75,
    }
)


def test_the_joined_table_gives_the_numbers_of_a_calculation_by_hand():
    joined = join_folds([FIRST, SECOND])
    assert list(joined["movie_id"]) == list("abcdefg")
    found = cross_validate({"one": [joined]}, confidence=0.95)
    (setting,), row = found.scores.settings, found.rows["one"]
    assert (found.folds, found.scores.posters) == (2, 7)
    # Means over Fresh posters: a above 2 of 2, e above 1 of 2; d above 1 of 2.
    assert setting["roc_auc"] == pytest.approx((1.0 + 0.5 + 0.5) / 3)
    assert row["metadata_roc_auc"] == pytest.approx((1.0 + 0.0 + 0.5) / 3)
    assert row["combined_roc_auc"] == pytest.approx(1.0)
    assert row["gain"] == pytest.approx(0.5)
    # Each fold by its own threshold: a, c, g right and e wrong; b and d right and f wrong.
    assert setting["accuracy"] == pytest.approx(5 / 7)
    brier = 0.6**2 + 0.3**2 + 0.8**2 + 0.1**2 + 0.7**2 + 0.2**2 + 0.9**2
    assert row["brier"] == pytest.approx(brier / 7)
    assert row["log_loss"] == pytest.approx(-np.log([0.4, 0.7, 0.2, 0.9, 0.3, 0.8, 0.1]).mean())
    assert found.metrics()["one.gain"] == row["gain"]
    assert "one.roc_auc_spread" not in found.metrics()


@pytest.fixture
def strong_and_weak():
    random = np.random.default_rng(0)
    labels, noise = random.integers(0, 2, 600), random.normal(size=600)
    base = pd.DataFrame(
        {
            "movie_id": [f"tt{number:03}" for number in range(600)],
            "label": labels,
            "fold": [f"{number % 3 + 1}/3" for number in range(600)],
            "threshold": 0.5,
            "year": 1990 + np.arange(600) % 30,
            "probability_metadata": 1 / (1 + np.exp(-(labels - 0.5 + random.normal(size=600)))),
        }
    )

    def of(strength):
        seen = 1 / (1 + np.exp(-(strength * (labels - 0.5) + noise)))
        return base.assign(probability=seen, probability_combined=(seen + base["probability_metadata"]) / 2)

    return of(2.0), of(0.5)


def test_variants_are_compared_in_pairs_and_the_answer_is_said(strong_and_weak):
    table, weaker = strong_and_weak
    found = cross_validate({"weak": [weaker], "strong": [table]}, confidence=0.95)
    (pair,) = found.scores.pairs
    assert (pair["first"], pair["second"], pair["significant"]) == ("strong", "weak", "ROC AUC")
    text = found.markdown()
    assert text.index("| strong |") < text.index("| weak |")
    assert "With strong, the poster adds to the ROC AUC of year + genres" in text
    assert "With fewer than 2,000 posters these intervals are too sure" in text  # 600
    assert set(found.slices["strong"]["slice"]) == {"decade"}


def test_what_is_no_cross_validation_of_one_dataset_is_refused():
    with pytest.raises(EvaluationError, match="poster b is held out in two folds"):
        join_folds([FIRST, SECOND, SECOND.head(1)])
    joined = join_folds([FIRST, SECOND])
    other = joined.assign(fold=joined["fold"].replace({"2/2": "1/2"}))
    with pytest.raises(EvaluationError, match="the runs have other posters, labels or folds"):
        cross_validate({"one": [joined], "other": [other]}, confidence=0.95)
