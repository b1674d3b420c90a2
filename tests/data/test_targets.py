from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poster_ml.data.targets import metadata_targets
from poster_ml.errors import DatasetError


def index(genres: list[str], years: list[int | None]) -> pd.DataFrame:
    return pd.DataFrame({"genres": genres, "year": pd.array(years, dtype="Int64")})


def test_every_target_has_mean_0_and_deviation_1() -> None:
    table = index(["Horror", "Horror|Comedy", "Comedy", ""], [1950, 1970, 1990, 2010])
    targets, names = metadata_targets(table, ["genre", "year"])
    assert names == ["Comedy", "Horror", "year"]
    assert (targets.shape, targets.dtype) == ((4, 3), np.dtype("float32"))
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(targets.std(axis=0), 1, rtol=1e-6)
    assert (targets[:, 1] > 0).tolist() == [True, True, False, False]
    assert (np.diff(targets[:, 2]) > 0).all()


def test_an_unknown_year_counts_as_the_mean_and_rare_genres_are_left_out() -> None:
    years = [None, *range(1950, 2049)]
    table = index(["Western", *["Drama"] * 49, *["Comedy"] * 50], years)
    targets, names = metadata_targets(table, ["genre", "year"])
    assert names == ["Comedy", "Drama", "year"]  # a single western of 100 is below 2 %
    assert targets[0, 2] == 0
    assert abs(targets[1:, 2].mean()) < 1e-6


def test_a_table_without_anything_to_learn_is_refused() -> None:
    with pytest.raises(DatasetError, match="no genre or year that differs between posters"):
        metadata_targets(index(["", ""], [1990, 1990]), ["genre", "year"])
    with pytest.raises(ValueError, match="kinds must be of genre, year"):
        metadata_targets(index([""], [1990]), ["title"])
