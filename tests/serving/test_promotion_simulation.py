"""The error of a promotion, measured: a small version of `benchmarks/promotion_simulation.py`."""

import runpy
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def simulation(project):
    """What the benchmark defines."""
    return SimpleNamespace(**runpy.run_path(str(project / "benchmarks" / "promotion_simulation.py")))


@pytest.mark.parametrize(("trials", "simulations"), [(0, 120), (30, 40)])
def test_networks_that_are_no_better_are_promoted_in_2_5_percent_at_most(simulation, trials, simulations):
    shares = dict(zip(simulation.DESIGNS, simulation.promotions(simulations, 0.0, trials), strict=True))
    assert shares["best seed, validation"] > 0.05, "the bias that the decision must not have is simulated"
    assert shares["first seed, test"] <= 0.025


def test_networks_that_are_clearly_better_are_promoted(simulation):
    shares = dict(zip(simulation.DESIGNS, simulation.promotions(25, 0.05, 0), strict=True))
    assert shares["first seed, test"] > 0.6
