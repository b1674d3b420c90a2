"""What is known without looking at the poster, and with only its colours: the figures a model must beat.

Every baseline is fitted on the train rows and scored on the evaluated rows. One that the table
cannot feed (no years, no genres) is left out.

What a poster adds to year and genres is the gain in ROC AUC on the same posters, with a paired interval.

Design. Two predictors of the same evaluated posters are compared:

1. metadata: gradient boosting of year + genres, fitted on the train rows;
2. metadata + poster: a logistic regression of two numbers, the metadata model's logit and the poster
   model's logit. It must not be fitted on posters that either model was trained on (both would look too
   good there, and the sharper over-fitter would get the larger weight) nor on the evaluated posters.

So when another split is at hand (test is evaluated, validation is there), the regression is fitted on that
split: it is the one that is served (`combined.CombinedModel`). When only one split is at hand
(validation after training), it is cross-fitted inside that split: each fold is predicted by a
regression fitted on the others. Such a gain is too high by what the choice of the poster model's
epoch (and setting) on these posters brought, and is called optimistic; the one to quote is that of
test, whose posters chose nothing. The gain is AUC(2) - AUC(1) with DeLong's paired interval, which
takes both predictors as given; the noise of three fitted coefficients is not in it and lowers the
gain rather than raising it. A poster that adds nothing gives a gain near 0, or slightly below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.metadata import genre_columns, years
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.stats import Floats, Interval, Ranking, auc_difference, auc_interval
from poster_ml.seeding import derive_seed

#: What a metadata baseline takes, and why there may be none.
METADATA_BASELINES = {
    "year": "year: no two different years are known",
    "genre": "genres: no genres are known",
    "year_genre": "year + genres: years or genres are missing",
}
LEVELS = 4  # colour levels per channel: 64 colours
PIXELS_PER_SIDE = 56  # a colour histogram does not need more
FOLDS = 5  # of the combination with the poster, where it is cross-fitted
MINIMUM_PER_CLASS = 2  # train rows of each class, below which nothing is fitted


def majority_accuracy(labels: npt.ArrayLike, train_labels: npt.ArrayLike | None = None) -> float:
    """Returns the accuracy of always naming one class: train's larger one, else the posters' own."""
    truth = np.asarray(labels, dtype=np.int64)
    source = truth if train_labels is None else np.asarray(train_labels, dtype=np.int64)
    majority = int(2 * source.sum() >= len(source))
    return float((truth == majority).mean())


@dataclass(frozen=True)
class MetadataModel:
    """A classifier of `year`, `genre` or both (`year_genre`), fitted on train rows.

    columns: names of what the classifier takes, `year` and genres.
    """

    features: str
    columns: tuple[str, ...]
    classifier: Any

    @classmethod
    def fit(cls, train: pd.DataFrame, features: str, seed: int) -> MetadataModel | None:
        """Fits one metadata baseline.

        Args:
            train: year, genres, label.
            features: "year" and "year_genre" are gradient boosting (a year acts in no straight
                line); "genre" is logistic regression on one column per genre.
            seed: int >= 0.

        Returns: None where `train` lacks the columns, two different values in them, or a class.
        """
        labels = train["label"].to_numpy(np.int64)
        if _too_few(labels) or not knows(train, features):
            return None
        classifier: Any = LogisticRegression(max_iter=1000)
        if features != "genre":
            # Few and shallow trees: with 5,000 rows and 25 columns deeper ones fit noise.
            classifier = HistGradientBoostingClassifier(
                max_iter=150,
                learning_rate=0.05,
                max_leaf_nodes=8,
                min_samples_leaf=20,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=derive_seed(seed, "baseline", features),
            )
        table = _columns(train, features)
        # On a shared machine the threads of gradient boosting wait for each other far longer than they work.
        with threadpool_limits(1, user_api="openmp"):
            classifier.fit(table.to_numpy(np.float64), labels)
        return cls(features, tuple(table.columns), classifier)

    def probabilities(self, table: pd.DataFrame) -> Floats:
        """Returns (N,) probabilities of Fresh; years may be missing, unknown genres count as none."""
        same = _columns(table, self.features).reindex(columns=list(self.columns), fill_value=0)
        with threadpool_limits(1, user_api="openmp"):
            return np.asarray(self.classifier.predict_proba(same.to_numpy(np.float64))[:, 1], np.float64)


def fit_metadata(train: pd.DataFrame, seed: int) -> dict[str, MetadataModel]:
    """Fits every metadata baseline that `train` has the values for; arguments as of `MetadataModel.fit`."""
    fitted = {name: MetadataModel.fit(train, name, seed) for name in METADATA_BASELINES}
    return {name: model for name, model in fitted.items() if model is not None}


def knows(table: pd.DataFrame, features: str) -> bool:
    """Says whether a table has two different years, and a genre, as far as a metadata baseline takes them."""
    known = years(table)
    has_years = len(np.unique(known[~np.isnan(known)])) > 1
    has_genres = not genre_columns(table).empty
    return (features == "genre" or has_years) and (features == "year" or has_genres)


def _columns(table: pd.DataFrame, features: str) -> pd.DataFrame:
    """Returns the year (NaN where missing) and a column of 0 and 1 per genre, as asked for."""
    year, genres = pd.DataFrame({"year": years(table)}, index=table.index), genre_columns(table)
    parts = {"year": [year], "genre": [genres], "year_genre": [year, genres]}
    return pd.concat(parts[features], axis=1)


def _too_few(labels: npt.NDArray[np.int64]) -> bool:
    return bool(np.bincount(labels, minlength=2).min() < MINIMUM_PER_CLASS)


def fit_baselines(
    train: pd.DataFrame,
    posters: pd.DataFrame,
    colours: tuple[Floats, Floats] | None = None,
    *,
    seed: int,
    metadata: Mapping[str, MetadataModel] | None = None,
) -> tuple[dict[str, Floats], list[str]]:
    """Scores posters by what needs no network.

    Args:
        train: movie_id, year (nullable), genres (`|` joined, may be empty), label: what is fitted on.
        posters: the same columns, N rows: what is scored; no movie of `train`, or there is no baseline.
        colours: (T, 64) and (N, 64) of `colour_histograms`; None leaves the colours out.
        seed: int >= 0.
        metadata: `fit_metadata` of `train` and `seed`, where it is at hand.

    Returns: "year", "genre", "year_genre" and "colour", each (N,) probabilities of Fresh, without
        those that `train` or `posters` has no values for; and a sentence for each that is missing.
    """
    if set(train["movie_id"]) & set(posters["movie_id"]):
        return {}, ["No baselines: these posters are among the ones that the baselines would be fitted on."]
    found, notes = {}, []
    metadata = fit_metadata(train, seed) if metadata is None else metadata
    for name, lacking in METADATA_BASELINES.items():
        model = metadata.get(name) if knows(posters, name) else None
        if model is None:
            where = "for the train or the evaluated posters, or too few posters"
            notes.append(f"No baseline of {lacking} {where}.")
        else:
            found[name] = model.probabilities(posters)
    labels = train["label"].to_numpy(np.int64)
    if colours is not None and not _too_few(labels):
        # Square roots spread the many small shares (the Hellinger distance between histograms).
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        classifier.fit(np.sqrt(colours[0]), labels)
        found["colour"] = np.asarray(classifier.predict_proba(np.sqrt(colours[1]))[:, 1], np.float64)
    return found, notes


def colour_histograms(images: npt.NDArray[np.uint8], rows: npt.ArrayLike) -> Floats:
    """Counts the colours of posters.

    Args:
        images: (N, H, W, 3) uint8, as stored in a prepared dataset; may be a memory map.
        rows: (R,) which ones.

    Returns: (R, 64) shares of the pixels in each of 4 x 4 x 4 colours; a row sums to 1.
    """
    step = max(1, min(images.shape[1:3]) // PIXELS_PER_SIDE)
    shares = []
    for row in np.asarray(rows, dtype=np.int64):
        levels = (images[row, ::step, ::step] // (256 // LEVELS)).astype(np.int64).reshape(-1, 3)
        codes = levels @ np.array([LEVELS**2, LEVELS, 1])
        shares.append(np.bincount(codes, minlength=LEVELS**3) / len(codes))
    return np.array(shares)


@dataclass(frozen=True)
class Combination:
    """Posters scored by year and genres, without and with the poster.

    metadata, combined: (N,) probabilities of Fresh, or (R, N) of several runs; NaN where neither
        year nor genres are known.
    design: how the combination was fitted, in words.
    optimistic: the scored posters also chose the poster model's epoch, so that the gain is too high.
    """

    metadata: Floats
    combined: Floats
    design: str
    optimistic: bool

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which posters have a score, (N,)."""
        return np.asarray(np.isfinite(np.atleast_2d(self.combined)).all(axis=0))


def poster_gain(
    labels: npt.NDArray[np.int64],
    poster: Floats,
    combination: Combination,
    confidence: float,
    folds: npt.ArrayLike | None = None,
) -> dict[str, Interval]:
    """Measures what the poster adds to year and genres (design: see the module).

    Args:
        labels: (N,) 0 or 1.
        poster: (N,) probabilities of Fresh by the poster alone, or (R, N) of several runs: then all
            figures are means over the runs, and the intervals speak of other seeds, too.
        combination: of the same posters, (N,) or (R, N).
        confidence: of the intervals, between 0 and 1.
        folds: (N,) of a cross-validation, see `Ranking.of`.

    Returns: of the posters whose year or genres are known `poster_beyond_metadata_auc_gain`,
        `year_genre_poster_roc_auc` (both together) and `poster_over_metadata` (ROC AUC of the poster alone
        less that of year + genres alone, paired); empty where these posters are of one class.
    """
    rows = combination.known
    if np.bincount(labels[rows], minlength=2).min() == 0:
        return {}
    parts = None if folds is None else np.asarray(folds)[rows]
    alone, metadata, combined = (
        Ranking.of(labels[rows], *np.atleast_2d(scores)[:, rows], folds=parts)
        for scores in (poster, combination.metadata, combination.combined)
    )
    return {
        "poster_beyond_metadata_auc_gain": auc_difference(combined, metadata, confidence)[0],
        "year_genre_poster_roc_auc": auc_interval(combined, confidence),
        "poster_over_metadata": auc_difference(alone, metadata, confidence)[0],
    }


def cross_fitted(
    train: pd.DataFrame,
    evaluated: pd.DataFrame,
    probabilities: npt.ArrayLike,
    *,
    seed: int,
    metadata: Mapping[str, MetadataModel] | None = None,
) -> Combination | None:
    """Combines year + genres with the poster within one split, each fold by what the others tell.

    Args:
        train: year, genres, label of the rows that the metadata model is fitted on.
        evaluated: the same columns, both classes present, no row of `train`.
        probabilities: (N,) of Fresh by the poster model for `evaluated`.
        seed: int >= 0.
        metadata: `fit_metadata` of `train` and `seed`, where it is at hand.

    Returns: None where years or genres are missing, or a class has too few posters to fit on.

    Raises: EvaluationError as `metrics.check_predictions`.
    """
    labels, values = check_predictions(evaluated["label"].to_numpy(), probabilities)
    metadata = fit_metadata(train, seed) if metadata is None else metadata
    model = metadata.get("year_genre")
    folds = min(FOLDS, int(np.bincount(labels, minlength=2).min()))
    if model is None or folds < 2 or not knows(evaluated, "year_genre"):
        return None
    alone = model.probabilities(evaluated)
    features = np.column_stack([logit(alone), logit(values)])
    splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "gain"))
    found = cross_val_predict(new_combiner(), features, labels, cv=splitter, method="predict_proba")
    design = f"combination cross-fitted in the {len(labels)} posters"
    return Combination(alone, np.asarray(found[:, 1], np.float64), design, optimistic=True)


def new_combiner() -> Any:
    """Returns an unfitted classifier of two logits (N, 2), of the metadata and of the poster."""
    # Scaled first: an over-fitted poster model has logits of +-50, and the penalty must not care.
    return make_pipeline(StandardScaler(), LogisticRegression())
