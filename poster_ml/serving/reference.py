"""What travels with a network so that it can say more than a probability.

Three files beside the network, none of them a pickle: the validation posters' labels and scores
(`validation.csv`), the models of year and genres (`combined.skops`), and the pooled features of the
training posters (`neighbours.npz`). Each may be missing: then what needs it is refused with a word.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.evaluation.combined import CombinedModel
from poster_ml.evaluation.evidence import DesignPairs, similar_share
from poster_ml.evaluation.metadata import genre_columns, years

CONFIDENCE = 0.95
_EMPTY_ONLY: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}  # a movie may be called "NA"
VALIDATION_FILE, COMBINED_FILE, NEIGHBOURS_FILE = "validation.csv", "combined.skops", "neighbours.npz"


@dataclass(frozen=True)
class Neighbours:
    """The training posters as the network sees them.

    features: (N, C) float16, each of length 1. movies: N rows `movie_id, title, year, label`.
    """

    features: np.ndarray
    movies: pd.DataFrame

    @classmethod
    def of(cls, features: np.ndarray, movies: pd.DataFrame) -> Neighbours:
        """Takes pooled features (N, C) of any length and the index rows of their posters."""
        columns = ["movie_id", "title", "year", "label"]
        return cls(_unit(features).astype(np.float16), movies.reindex(columns=columns).reset_index(drop=True))

    def nearest(self, features: np.ndarray, count: int) -> list[list[dict[str, Any]]]:
        """Returns for each poster (B, C) its `count` most alike, the most alike first.

        Each is `movie_id, title, year (or None), label ("Fresh" or "Rotten"), cosine (in [-1, 1])`.
        """
        cosines = _unit(features) @ self._transposed  # (B, N)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        return [
            [self._movie(row, float(cosine[row])) for row in rows]
            for rows, cosine in zip(order, cosines, strict=True)
        ]

    @cached_property
    def _transposed(self) -> np.ndarray:
        return self.features.astype(np.float32).T

    def _movie(self, row: int, cosine: float) -> dict[str, Any]:
        movie = self.movies.iloc[row]
        return {
            "movie_id": str(movie["movie_id"]),
            "title": None if pd.isna(movie["title"]) else str(movie["title"]),
            "year": None if pd.isna(movie["year"]) else int(movie["year"]),
            "label": "Fresh" if movie["label"] == 1 else "Rotten",
            "cosine": round(cosine, 4),
        }


def _unit(features: np.ndarray) -> np.ndarray:
    values = np.asarray(features, dtype=np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class Reference:
    """Other posters, and what they say of the ones asked about.

    validation: `label, logit` (calibrated), `year, genres` of the validation posters.
    combined: the models of year and genres; None where the dataset knows neither.
    neighbours: None where no features were stored.
    """

    validation: pd.DataFrame
    combined: CombinedModel | None = None
    neighbours: Neighbours | None = None

    @cached_property
    def pairs(self) -> DesignPairs:
        """Pairs of validation movies, one Fresh and one Rotten, of one decade and with a shared genre."""
        table = self.validation
        genres = genre_columns(table).to_numpy(np.float32)
        return DesignPairs.match(table["label"], table["logit"], years(table), genres)

    def similar(self, logit: float) -> dict[str, float]:
        """Returns `similar_share` with its interval and `similar_count` for one poster (`similar_share`)."""
        share = similar_share(self.validation["label"], self.validation["logit"], logit, CONFIDENCE)
        return {**share.interval.columns("similar_share"), "similar_count": share.count}

    def rank(self, logits: np.ndarray, names: list[Any]) -> list[dict[str, Any]]:
        """Puts designs in order, and says of each two how far the difference can be trusted.

        Args:
            logits: (B,) calibrated; NaN where a poster could not be scored.
            names: of the B designs, as the answer calls them.

        Returns: for each design `rank` (1 is the likeliest Fresh; None without a logit) and `pairs`, one
            entry per other design: `other`; `difference` (logit, this one less the other); `share` of
            validation pairs that differ at least so much in which the higher one was the Fresh one, with
            `share_ci_low`, `share_ci_high` and `count`; `told_apart` (`DesignPairs.told_apart`).
        """
        scored = np.flatnonzero(np.isfinite(logits))
        found: list[dict[str, Any]] = [{"rank": None, "pairs": []} for _ in logits]
        for row in scored.tolist():
            found[row]["rank"] = 1 + int((logits[scored] > logits[row]).sum())
        for first, second in combinations(scored.tolist(), 2):
            difference = float(logits[first] - logits[second])
            said = self._said(difference)  # the same from both sides
            found[first]["pairs"].append({"other": names[second], "difference": difference, **said})
            found[second]["pairs"].append({"other": names[first], "difference": -difference, **said})
        return found

    def _said(self, difference: float) -> dict[str, Any]:
        share = self.pairs.share(difference, CONFIDENCE)
        columns = dict.fromkeys(("share", "share_ci_low", "share_ci_high"))
        return {
            **(columns if share is None else share.interval.columns("share")),
            "count": 0 if share is None else share.count,
            "told_apart": self.pairs.told_apart(difference, CONFIDENCE),
        }

    def save(self, folder: Path) -> None:
        """Writes the files into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.validation.to_csv(folder / VALIDATION_FILE, index=False)
        if self.combined is not None:
            self.combined.save(folder / COMBINED_FILE)
        if self.neighbours is not None:
            movies = self.neighbours.movies.to_csv(index=False)
            np.savez_compressed(folder / NEIGHBOURS_FILE, features=self.neighbours.features, movies=movies)

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Reads what `save` wrote. Raises: OSError, ValueError, KeyError where a file is broken."""
        validation = pd.read_csv(folder / VALIDATION_FILE, dtype={"genres": str}, **_EMPTY_ONLY)
        combined, neighbours = folder / COMBINED_FILE, None
        if (folder / NEIGHBOURS_FILE).is_file():
            with np.load(folder / NEIGHBOURS_FILE, allow_pickle=False) as stored:
                table, texts = io.StringIO(str(stored["movies"])), {"movie_id": str, "title": str}
                movies = pd.read_csv(table, dtype=texts, **_EMPTY_ONLY)
                neighbours = Neighbours(stored["features"], movies)
        return cls(validation, CombinedModel.load(combined) if combined.is_file() else None, neighbours)
