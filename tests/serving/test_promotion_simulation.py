"""The error of a promotion, measured: a small version of `benchmarks/promotion_simulation.py`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def simulation(project: Path) -> Iterator[Any]:
    """The benchmark as a module."""
    path = project / "benchmarks" / "promotion_simulation.py"
    specification = importlib.util.spec_from_file_location("promotion_simulation", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["promotion_simulation"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    yield module
    del sys.modules["promotion_simulation"]


@pytest.mark.parametrize(("trials", "simulations"), [(0, 120), (30, 40)])
def test_networks_that_are_no_better_are_promoted_in_2_5_percent_at_most(
    simulation: Any, trials: int, simulations: int
) -> None:
    shares = dict(zip(simulation.DESIGNS, simulation.promotions(simulations, 0.0, trials), strict=True))
    assert shares["best seed, validation"] > 0.05, "the bias that the decision must not have is simulated"
    assert shares["first seed, test"] <= 0.025


def test_networks_that_are_clearly_better_are_promoted(simulation: Any) -> None:
    shares = dict(zip(simulation.DESIGNS, simulation.promotions(25, 0.05, 0), strict=True))
    assert shares["first seed, test"] > 0.6
