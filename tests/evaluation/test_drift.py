from types import SimpleNamespace

import numpy as np
import pytest

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.drift import compare_features, stability_index
from tests.refusals import refusal


def one(reference, current, **options):
    (found,) = compare_features({"x": reference}, {"x": current}, **options)
    return SimpleNamespace(**found)


def test_the_index_is_that_of_the_formula():
    reference, current = np.array([500, 300, 200]), np.array([200, 300, 500])
    p, q = (reference + 0.5) / 1001.5, (current + 0.5) / 1001.5
    assert stability_index(reference, current) == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert stability_index(reference, reference) == 0
    assert np.isfinite(stability_index(np.array([10, 0]), np.array([0, 10])))


@pytest.mark.parametrize(
    ("current", "verdict", "distance"),
    [(170.0, "major", 1.0), (200.0, "major", 1.0), (182.0, "none seen", 0.0)],
)
def test_leaving_the_only_value_is_seen_in_either_direction(current, verdict, distance):
    found = one(np.full(300, 182.0), np.full(200, current))
    assert (found.verdict, found.ks.estimate) == (verdict, distance)
    assert (found.reference_mean, found.current_mean) == (182.0, current)
    assert (found.psi_p == found.ks_p == 1.0) == (verdict == "none seen")


def test_planted_drifts_are_called_by_their_size():
    random = np.random.default_rng(0)
    reference = random.normal(0, 1, 4000)
    for shift, verdict in {0.0: "none seen", 0.15: "slight", 0.4: "moderate", 1.0: "major"}.items():
        assert one(reference, random.normal(shift, 1, 2000)).verdict == verdict
    wider = one(reference, random.normal(0, 2, 2000))  # the same mean
    assert wider.verdict == "major"
    # Two normals of one variance, shift d: the index of the densities is d^2; bins lose a little of it.
    found = one(reference, random.normal(0.5, 1, 2000))
    assert found.psi.estimate == pytest.approx(0.25, abs=0.06)


def test_false_alarms_stay_rare_and_chance_alone_adds_nothing_to_the_index():
    """No drift: of 40 pairs of samples with three features, at most 5 % may raise any alarm."""
    random = np.random.default_rng(1)
    draw = {
        "a": random.random,
        "b": lambda n: random.choice([182.0, 182.0, 182.0, 300.0], n),
        "c": lambda n: random.integers(0, 4, n).astype(float),
    }
    alarms, estimates = 0, []
    for _ in range(40):
        reference, current = ({name: values(n) for name, values in draw.items()} for n in (500, 120))
        found = compare_features(reference, current, repeats=200)
        alarms += any(item["verdict"] != "none seen" for item in found)
        estimates.append(found[0]["psi"].estimate)
    assert alarms < 8, alarms  # 2 expected at most; 8 or more would happen once in 800 by chance
    assert np.median(estimates) < 0.02  # the plain index would be about .1


def test_intervals_cover_the_truth():
    """The index of two known distributions over the ten bins lies inside nearly always."""
    random = np.random.default_rng(2)
    p, q = np.full(10, 0.1), np.linspace(0.04, 0.16, 10)
    truth = ((p - q) * np.log(p / q)).sum()
    held = held_distance = 0
    for _ in range(100):
        found = one(random.choice(10, 3000, p=p), random.choice(10, 400, p=q), repeats=100)
        held += found.psi.low <= truth <= found.psi.high
        held_distance += found.ks.low <= np.abs(np.cumsum(p - q)).max() <= found.ks.high
    assert held >= 86, held  # 95 expected at 95 %; below 86 once in 10,000
    assert held_distance >= 95


def test_results_depend_on_the_seed_alone_and_posters_without_a_value_are_left_out():
    random = np.random.default_rng(4)
    reference, current = np.r_[random.random(300), [np.nan] * 50], random.random(200)
    found = one(reference, current)
    assert (found.reference_posters, found.current_posters) == (300, 200)
    assert one(reference, current) == found
    assert one(reference, current, seed=1).psi.high != found.psi.high


def test_what_cannot_be_compared_is_refused():
    said = refusal(EvaluationError, one, np.arange(100.0), np.arange(49.0))
    assert said == "x: 49 posters on one side, at least 50 are needed: take a longer period"
    said = refusal(EvaluationError, compare_features, {"a": [1.0]}, {"b": [1.0]})
    assert said == "nothing to compare: a against b"
