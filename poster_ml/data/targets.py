"""What the table says of a movie besides the reviews, as numbers that a network can be trained on first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from poster_ml.errors import DatasetError

KINDS = ("genre", "year")
RAREST = 0.02  # genres on a smaller share of the posters are left out


def metadata_targets(index: pd.DataFrame, kinds: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Turns genres and years into targets of a regression.

    Args:
        index: one row per poster: genres (`|` between them), year (Int64 with gaps). Give training posters
            only: mean and deviation are taken from them.
        kinds: of "genre" (one column per genre that at least 2 % of the posters have) and "year".

    Returns: (n, T) float32, every column with mean 0 and deviation 1, a missing year being 0; and the
        columns' names.

    Raises: DatasetError where the table has nothing of that kind.
    """
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for kind in kinds:
        if kind == "genre":
            columns |= _genres(index)
        elif kind == "year":
            columns["year"] = np.asarray(index["year"].to_numpy(dtype="float64", na_value=np.nan), np.float64)
        else:
            raise ValueError(f"kinds must be of {', '.join(KINDS)}; received {kind=}")
    scaled = {name: _scaled(values) for name, values in columns.items()}
    kept = {name: values for name, values in scaled.items() if values is not None}
    if not kept:
        raise DatasetError(
            f"the dataset has no {' or '.join(kinds)} that differs between posters: set "
            "train.pretrain_epochs=0, or prepare it from a table with genres and years"
        )
    return np.stack(list(kept.values()), axis=1).astype("float32"), list(kept)


def _genres(index: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    lists = index["genres"].fillna("").astype(str).str.get_dummies(sep="|")
    frequent = lists.columns[(lists.mean() >= RAREST) & (lists.columns != "")]
    return {str(name): lists[name].to_numpy(dtype="float64") for name in frequent}


def _scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Brings known values to mean 0 and deviation 1; None where they are all alike or unknown."""
    known = np.isfinite(values)
    if not known.any() or values[known].std() < 1e-9:
        return None
    scaled = (values - values[known].mean()) / values[known].std()
    return np.where(known, scaled, 0.0)
