"""How likely is Fresh, with what is known besides the poster: its year, its genres, or both.

Three metadata models (year, genres, both), fitted on `train`, and for each a logistic regression of its
logit and the poster model's, fitted on `val`, whose posters neither was fitted on. A movie is answered by the
models of what is known of it. The same object measures (`evaluate`) and serves: the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import numpy.typing as npt
import pandas as pd
from skops.io import dump, load

from poster_ml.evaluation.baselines import METADATA_BASELINES, MetadataModel, fit_metadata, new_combiner
from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.metadata import genre_columns, years
from poster_ml.evaluation.stats import Floats

# The one type of the file that is none of skops' own defaults: the trees of gradient boosting.
TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


@dataclass(frozen=True)
class CombinedModel:
    """Year and genres alone, and together with the poster.

    metadata: models by what they take, "year", "genre" or "year_genre"; one that `train` had no values for is
        missing. combiners: under the same names, fitted scikit-learn classifiers of the two logits.
    posters: how many of validation the combiners were fitted on.
    """

    metadata: dict[str, MetadataModel]
    combiners: dict[str, Any]
    posters: int

    @classmethod
    def fit(
        cls,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        probabilities: npt.ArrayLike,
        *,
        seed: int,
        metadata: Mapping[str, MetadataModel] | None = None,
    ) -> CombinedModel | None:
        """Fits all of it.

        Args:
            train: year (may be missing), genres (`|` between them), label.
            validation: the same columns, no row of `train`.
            probabilities: (N,) of Fresh by the poster model for `validation`, calibrated.
            seed: int >= 0.
            metadata: `fit_metadata` of `train` and `seed`, where it is at hand.

        Returns: the model; None where neither years nor genres are known, or a class has too few posters.
        """
        values = np.asarray(probabilities, dtype=np.float64)
        labels = validation["label"].to_numpy(np.int64)
        used, combiners = {}, {}
        for name, model in (fit_metadata(train, seed) if metadata is None else metadata).items():
            rows = _has(validation, model)
            if np.bincount(labels[rows], minlength=2).min() < 2:
                continue
            known = logit(model.probabilities(validation[rows]))
            used[name] = model
            combiners[name] = new_combiner().fit(np.column_stack([known, logit(values[rows])]), labels[rows])
        return cls(used, combiners, len(labels)) if used else None

    @property
    def genres(self) -> frozenset[str]:
        """The names that a model knows."""
        names = {name for model in self.metadata.values() for name in model.columns}
        return frozenset(names - {"year"})

    def used(self, table: pd.DataFrame) -> npt.NDArray[np.object_]:
        """Says by which model each row is answered, (N,): a name of `metadata`, or "" where none can."""
        names = np.full(len(table), "", dtype=object)
        for name in METADATA_BASELINES:  # the last one, of both, wins
            if name in self.metadata:
                names[_has(table, self.metadata[name])] = name
        return names

    def probabilities(self, table: pd.DataFrame, poster: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Scores movies without and with their posters.

        Args:
            table: year, genres, one row per poster; either may be missing.
            poster: (N,) probabilities of Fresh by the poster model, calibrated.

        Returns: (N,) by year and genres alone, and (N,) with the poster; NaN where neither is known.
        """
        values, names = np.asarray(poster, dtype=np.float64), self.used(table)
        alone, together = np.full((2, len(table)), np.nan)
        for name, model in self.metadata.items():
            rows = names == name
            if rows.any():
                alone[rows] = model.probabilities(table[rows])
                both = np.column_stack([logit(alone[rows]), logit(values[rows])])
                together[rows] = self.combiners[name].predict_proba(both)[:, 1]
        return alone, together

    def save(self, path: Path) -> None:
        """Writes the model to a file without pickle (skops)."""
        models = {name: [list(model.columns), model.classifier] for name, model in self.metadata.items()}
        content = {"metadata": models, "combiners": self.combiners, "posters": self.posters}
        dump(content, path, compression=ZIP_DEFLATED)

    @classmethod
    def load(cls, path: Path) -> CombinedModel:
        """Reads what `save` wrote.

        Raises: OSError, ValueError or TypeError where the file is broken or holds anything else.
        """
        content = load(path, trusted=TRUSTED)
        metadata = {
            name: MetadataModel(name, tuple(columns), classifier)
            for name, (columns, classifier) in content["metadata"].items()
        }
        return cls(metadata, content["combiners"], content["posters"])


def _has(table: pd.DataFrame, model: MetadataModel) -> npt.NDArray[np.bool_]:
    """Says which rows (N,) have what a metadata model takes: a year, a genre that it knows, or both."""
    rows = np.ones(len(table), dtype=bool)
    if model.features != "genre":
        rows &= ~np.isnan(years(table))
    if model.features != "year":
        known = genre_columns(table).reindex(columns=[*model.columns], fill_value=0)
        rows &= known.drop(columns="year", errors="ignore").to_numpy(bool).any(axis=1)
    return rows
