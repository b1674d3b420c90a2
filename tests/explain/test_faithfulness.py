import json

import keras
import numpy as np
import pytest

from poster_ml.explain.faithfulness import _advantages, control_maps, measure_faithfulness
from poster_ml.explain.maps import Explainer
from poster_ml.explain.pointing import centre_map
from poster_ml.explain.randomisation import randomisation_check, spearman


def red_block_posters(count: int = 12, height: int = 24, width: int = 16) -> np.ndarray:
    """Grey noise with one red (even rows) or green (odd rows) block off the centre."""
    images = np.random.default_rng(3).integers(90, 110, (count, height, width, 1), dtype=np.uint8)
    images = images.repeat(3, axis=-1)
    places = np.random.default_rng(4)
    for row, image in enumerate(images):
        top, left = int(places.integers(0, 5)), int(places.integers(0, 11))
        image[top : top + 6, left : left + 5] = (255, 0, 0) if row % 2 == 0 else (0, 255, 0)
    return images


def strong(nets) -> keras.Model:
    model = nets.red_against_green(height=24, width=16)
    model.get_layer("logit").set_weights([np.array([[30.0], [-30.0]]), np.zeros(1)])
    return model


def test_map_of_a_known_cause_beats_every_control(nets):
    result = measure_faithfulness(Explainer(strong(nets)), red_block_posters(), seed=1, steps=6)
    json.dumps(result)
    assert (result["settings"]["method"], result["settings"]["posters"]) == ("cam", 12)
    assert list(result["against"]) == ["random", "edge", "centre"]
    for control, found in result["against"].items():
        assert list(found) == ["deletion", "insertion", "road"]
        assert all(one["better"] and one["ci_low"] > 0 for one in found.values()), control
    random_road = result["scores"]["random"]["road"]
    assert random_road["ci_low"] < 0.05
    assert abs(random_road["mean"]) < result["scores"]["model"]["road"]["mean"] / 3


def test_maps_are_called_better_only_after_correction_for_all_controls_and_scores():
    """Nine questions of 16 posters: one that alone has p = .02 is not shown, at 80 % confidence it is."""
    random = np.random.default_rng(1)
    noise = random.normal(size=(16, 9))
    noise = (noise - noise.mean(axis=0)) / noise.std(axis=0, ddof=1) * 0.1
    ours = {score: np.zeros(16) for score in ("deletion", "insertion", "road")}
    values = {"model": ours}
    for number, control in enumerate(("random", "edge", "centre")):
        values[control] = {name: noise[:, 3 * number + row] for row, name in enumerate(ours)}
    values["edge"]["road"] = values["edge"]["road"] - 0.065  # t = 2.6 with 15 degrees of freedom: p = .02
    found = _advantages(values, 0.95)
    assert found["edge"]["road"]["ci_low"] > 0
    assert found["edge"]["road"]["p_holm"] == pytest.approx(9 * 0.0201, rel=0.02)
    assert not any(one["better"] for scores in found.values() for one in scores.values())
    assert _advantages(values, 0.8)["edge"]["road"]["better"]


def test_the_network_is_given_full_batches_only(nets, monkeypatch):
    """16 posters cost 83 passes each, as documented: 83 batches of 16, none of them filled up."""
    model, batches = strong(nets), []
    predict = model.predict_on_batch
    monkeypatch.setattr(
        model, "predict_on_batch", lambda images: batches.append(len(images)) or predict(images)
    )
    measure_faithfulness(Explainer(model), red_block_posters(16), steps=8)
    assert batches == [16] * 83


def test_map_turned_round_is_found_out(nets, monkeypatch):
    original = Explainer.explain
    monkeypatch.setattr(Explainer, "explain", lambda *given: -original(*given))
    result = measure_faithfulness(Explainer(strong(nets)), red_block_posters(), seed=1, steps=6)
    for score in ("deletion", "insertion", "road"):
        assert result["against"]["random"][score]["ci_high"] < 0, score


def test_same_seed_same_numbers(nets):
    images = red_block_posters(3)
    first, again, other = (
        measure_faithfulness(Explainer(strong(nets)), images, seed=seed, steps=3) for seed in (5, 5, 6)
    )
    assert first == again
    assert first["scores"] != other["scores"]


def test_randomisation_tells_a_map_of_the_model_from_one_that_ignores_it(nets, monkeypatch):
    model, images = nets.branching(24, 16), nets.noise(6, 24, 16)
    before = [weight.copy() for weight in model.get_weights()]
    explainer = Explainer(model)
    following = randomisation_check(explainer, images, explainer.explain(images), seed=0)
    last = following[-1]
    assert (last["layers"], last["lowest_layer"]) == (5, "left")
    assert abs(last["spearman"]["mean"]) < 0.5
    assert [stage["layers"] for stage in following] == sorted({stage["layers"] for stage in following})
    for weight, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, now)
    edges = control_maps(images, seed=0)["edge"]
    monkeypatch.setattr(Explainer, "explain", lambda *_: edges)
    for stage in randomisation_check(explainer, images, edges, seed=0):
        assert stage["spearman"]["mean"] == pytest.approx(1)


def test_controls_are_maps_that_know_only_the_poster():
    images = np.zeros((2, 40, 24, 3), np.uint8)
    images[:, 10:, 6:] = 200
    for name, maps in control_maps(images, seed=0).items():
        assert maps.shape == (2, 40, 24), name
        assert maps.dtype == np.float32
        assert maps.min() >= 0
        np.testing.assert_allclose(maps.max(axis=(1, 2)), 1, rtol=1e-6)
    edges = control_maps(images, seed=0)["edge"][0]
    assert edges[10, 15] > 10 * edges[30, 18]
    assert edges[25, 6] > 10 * edges[30, 18]
    centre = centre_map(40, 24)
    assert np.unravel_index(centre.argmax(), centre.shape) in {(19, 11), (19, 12), (20, 11), (20, 12)}
    first, other = (control_maps(images, seed)["random"] for seed in (3, 4))
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_array_equal(control_maps(images * 0, seed=0)["edge"], 0)


def test_rank_correlation_of_known_pairs():
    one = np.random.default_rng(0).uniform(-1, 1, (12, 8))
    assert [spearman(one, other) for other in (one**3, -one, one * 0)] == pytest.approx([1, -1, 0])
