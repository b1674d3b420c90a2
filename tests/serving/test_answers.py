"""What a logged model says beside its probability, through MLflow's own loading and checking."""

import base64
import math

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from poster_ml.serving.pyfunc import COLUMNS

SIZE = 32


@pytest.fixture(scope="module")
def model(logged):
    return mlflow.pyfunc.load_model(logged.model_uri)


@pytest.fixture(scope="module")
def bare(shared_mlflow_store, make_network):
    """The same network, logged without a reference."""
    from poster_ml.serving.log import log_poster_model

    with mlflow.start_run():
        info = log_poster_model(make_network(), size=SIZE, threshold=0.4, temperature=2.0)
    return mlflow.pyfunc.load_model(info.model_uri)


@pytest.fixture(scope="module")
def images(make_picture):
    return [base64.b64encode(make_picture(seed)).decode() for seed in range(4)]


def test_the_poster_alone_is_what_it_was_and_nothing_is_said_of_what_was_not_given(model, bare, images):
    table = pd.DataFrame({"image": images})
    with_reference, without = model.predict(table), bare.predict(table)
    assert list(with_reference.columns) == list(COLUMNS)
    pd.testing.assert_frame_equal(with_reference, without)
    unsaid = with_reference[["probability_metadata", "probability_combined", "poster_effect", "note"]]
    assert unsaid.isna().all(axis=None)


def test_year_and_genres_are_answered_by_the_models_that_evaluation_measures(model, reference, images):
    table = pd.DataFrame(
        {"image": images, "year": [1999, None, "2005", None], "genres": ["Drama", "comedy", None, None]}
    )
    answer = model.predict(table)
    alone, together = reference.combined.probabilities(
        pd.DataFrame({"year": [1999, None, 2005, None], "genres": ["Drama", "Comedy", "", ""]}),
        answer["probability_fresh"],
    )
    np.testing.assert_allclose(answer["probability_metadata"].astype(float), alone, atol=1e-6)
    np.testing.assert_allclose(answer["probability_combined"].astype(float), together, atol=1e-6)
    np.testing.assert_allclose(answer["poster_effect"].astype(float), together - alone, atol=1e-6)
    assert answer.loc[3, "probability_combined"] is None
    assert answer["note"].tolist() == [None] * 4


def test_an_image_that_cannot_be_scored_has_its_metadata_answer_all_the_same(model, images):
    answer = model.predict(pd.DataFrame({"image": ["!", images[0]], "year": [1999, 1999]}))
    assert answer.loc[0, "error"]
    assert answer.loc[0, "probability_combined"] is None
    assert answer.loc[0, "poster_effect"] is None
    assert answer.loc[0, "probability_metadata"] == answer.loc[1, "probability_metadata"]


def test_a_model_without_metadata_says_that_it_ignored_them(bare, images):
    answer = bare.predict(pd.DataFrame({"image": images[:2], "year": [1999, None], "genres": [None, None]}))
    assert answer["note"].tolist() == [
        "year and genres were ignored: this model was trained without them", None,
    ]  # fmt: skip


def test_evidence_counts_the_posters_that_scored_like_this_one(model, reference, images):
    answer = model.predict(pd.DataFrame({"image": images}), params={"evidence": True})
    probability = answer["probability_fresh"]
    for row, value in enumerate(np.log(probability / (1 - probability))):
        said = answer.loc[
            row, ["similar_share", "similar_share_ci_low", "similar_share_ci_high", "similar_count"]
        ]
        assert said.to_dict() == pytest.approx(reference.similar(value))
    assert "members_low" not in answer.columns


def test_designs_are_ranked_by_their_own_row_names(model, images):
    table = pd.DataFrame({"image": [*images, "!"]}, index=["a", "b", "c", "d", "broken"])
    answer = model.predict(table, params={"rank": True})
    best = answer["probability_fresh"].astype(float).idxmax()
    assert answer.loc[best, "rank"] == 1
    assert answer.loc["broken", "rank"] is None
    assert {pair["other"] for pair in answer.loc["a", "pairs"]} == {"b", "c", "d"}


def test_neighbours_are_the_training_posters_with_the_nearest_features(model, reference, images):
    from poster_ml.data.images import decode_poster
    from poster_ml.explain.likeness import PooledFeatures

    answer = model.predict(pd.DataFrame({"image": images[:2]}), params={"neighbours": 3})
    pixels = np.stack([decode_poster(base64.b64decode(image), SIZE).pixels for image in images[:2]])
    features = PooledFeatures(model.unwrap_python_model().network)(pixels)
    assert answer["neighbours"].tolist() == reference.neighbours.nearest(features, 3)


def test_hiding_a_box_is_answered_beside_boxes_elsewhere(model, images):
    answer = model.predict(
        pd.DataFrame({"image": images[:1]}), params={"what_if": [0.0, 0.0, 0.5, 0.5, 0.2, 0.2, 0.4, 0.4]}
    )
    first, second = answer.loc[0, "what_if"]
    assert first["box"] == (0.0, 0.0, 0.5, 0.5)
    assert second["elsewhere"] == 16
    assert all(math.isfinite(second[name]) for name in ("change", "elsewhere_mean", "elsewhere_spread"))


@pytest.mark.parametrize("params", [{"evidence": True}, {"rank": True}, {"neighbours": 2}])
def test_a_model_logged_without_other_posters_refuses_what_needs_them(bare, images, params):
    with pytest.raises(MlflowException, match="this model was logged without") as refused:
        bare.predict(pd.DataFrame({"image": images[:2]}), params=params)
    assert refused.value.get_http_status_code() == 400


def test_the_members_of_an_ensemble_give_a_band_around_its_probability(make_network, reference, images):
    from poster_ml.models.ensemble import build_ensemble
    from poster_ml.serving.pyfunc import PosterModel
    from poster_ml.serving.settings import ServingSettings

    networks = [make_network(seed) for seed in (1, 2, 3)]
    model = PosterModel()
    model.prepare(build_ensemble(networks, [1 / 3] * 3), ServingSettings(size=SIZE), reference=reference)
    answer = model.predict(None, pd.DataFrame({"image": images}), {"evidence": True}).astype(
        float, errors="ignore"
    )
    assert (answer["members_low"] < answer["probability_fresh"]).all()
    assert (answer["probability_fresh"] < answer["members_high"]).all()
