"""What travels with a network: the same after saving, and right about neighbours, likeness and order."""

import math

import numpy as np
import pandas as pd
import pytest

from poster_ml.evaluation.combined import CombinedModel
from poster_ml.serving.reference import Neighbours, Reference
from tests.evaluation.worlds import movies


@pytest.fixture(scope="module")
def validation():
    table = movies(400, 0)
    return table.assign(logit=np.random.default_rng(0).normal(1.2 * table["label"] - 0.6, 1.0))


@pytest.fixture(scope="module")
def neighbours():
    features = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [3.0, 3.0, 0.0]])
    movies = pd.DataFrame(
        {
            "movie_id": ["tt1", "tt2", "tt3"],
            "title": ["A", None, "NA"],
            "year": [1999, None, 2001],
            "label": [1, 0, 1],
        }
    )
    return Neighbours.of(features, movies)


def test_the_most_alike_posters_come_first_with_what_the_critics_said(neighbours):
    (found,) = neighbours.nearest(np.array([[0.0, 5.0, 0.1]]), 2)
    assert found[0] == {"movie_id": "tt2", "title": None, "year": None, "label": "Rotten", "cosine": 0.9998}
    assert (found[1]["movie_id"], found[1]["title"], found[1]["label"]) == ("tt3", "NA", "Fresh")
    assert found[1]["cosine"] == pytest.approx(math.sqrt(0.5), abs=0.001)


def test_designs_stand_in_order_and_near_ones_are_not_told_apart(validation):
    found = Reference(validation).rank(np.array([0.0, 2.0, math.nan, 0.001]), ["a", "b", "c", "d"])
    assert [one["rank"] for one in found] == [3, 1, None, 2]
    assert found[2]["pairs"] == []
    against = {pair["other"]: pair for pair in found[1]["pairs"]}
    assert set(against) == {"a", "d"}
    assert against["a"]["difference"] == 2.0
    assert against["a"]["told_apart"]
    assert against["a"]["share"] > 0.8
    # the same pair seen from the other side
    mirrored = next(pair for pair in found[0]["pairs"] if pair["other"] == "b")
    assert mirrored["difference"] == -2.0
    assert mirrored["share"] == against["a"]["share"]


def test_everything_is_the_same_after_saving(validation, neighbours, tmp_path):
    combined = CombinedModel.fit(movies(400, 1), validation, np.full(400, 0.5), seed=0)
    before = Reference(validation, combined, neighbours)
    before.save(tmp_path / "reference")
    after = Reference.load(tmp_path / "reference")
    assert after.similar(0.3) == before.similar(0.3)
    assert after.rank(np.array([0.0, 1.0]), [0, 1]) == before.rank(np.array([0.0, 1.0]), [0, 1])
    asked = np.array([[1.0, 0.2, 0.0]])
    assert after.neighbours.nearest(asked, 3) == before.neighbours.nearest(asked, 3)
    assert after.combined.genres == {"Comedy", "Drama", "War"}
    Reference(validation).save(tmp_path / "bare")
    bare = Reference.load(tmp_path / "bare")
    assert (bare.combined, bare.neighbours) == (None, None)
