"""What is known without looking at the poster, and with only its colours: the figures a model must beat.

Every baseline is fitted on the train rows and scored on the evaluated rows. One that the table cannot feed
(no years, no genres) is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.metrics import check_labels
from poster_ml.evaluation.stats import Floats, Interval, delong_interval, wilson_interval
from poster_ml.seeding import derive_seed

if TYPE_CHECKING:
    import pandas

METADATA_BASELINES = ("year", "genre", "year_genre")
LEVELS = 4  # colour levels per channel: 64 colours
PIXELS_PER_SIDE = 56  # a colour histogram does not need more
MINIMUM_PER_CLASS = 2  # train rows of each class, below which nothing is fitted


@dataclass(frozen=True)
class BaselineResult:
    """How one baseline does on the evaluated posters; probabilities (N,) of Fresh in their order."""

    name: str
    probabilities: Floats
    roc_auc: Interval
    accuracy: Interval


@dataclass(frozen=True)
class MetadataModel:
    """A classifier of `year`, `genres`, or both, fitted on train rows."""

    features: str
    genres: tuple[str, ...]
    classifier: Any

    def probabilities(self, table: pandas.DataFrame) -> Floats:
        """Returns (N,) probabilities of Fresh; years may be missing, unknown genres count as none."""
        return predict(self.classifier, metadata_features(table, self.features, self.genres))


def predict(classifier: Any, features: npt.NDArray[np.floating]) -> Floats:
    """Returns (N,) probabilities of class 1 from a fitted scikit-learn classifier."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="openmp"):
        return np.asarray(classifier.predict_proba(features)[:, 1], dtype=np.float64)


def majority_accuracy(labels: npt.ArrayLike, train_labels: npt.ArrayLike | None = None) -> float:
    """Returns the accuracy of always naming one class: train's larger one, else the posters' own."""
    truth = np.asarray(labels, dtype=np.int64)
    source = truth if train_labels is None else np.asarray(train_labels, dtype=np.int64)
    majority = int(2 * source.sum() >= len(source))
    return float((truth == majority).mean())


def split_genres(genres: pandas.Series) -> list[list[str]]:
    """Splits `Crime|Drama` into names; a missing or empty entry gives none."""
    texts = genres.fillna("").astype(str)
    return [[name.strip() for name in text.split("|") if name.strip()] for text in texts]


def has_years(table: pandas.DataFrame) -> bool:
    """Says whether at least two different years are known."""
    return "year" in table and table["year"].nunique(dropna=True) > 1


def has_genres(table: pandas.DataFrame) -> bool:
    """Says whether at least one row names a genre."""
    return "genres" in table and any(split_genres(table["genres"]))


def metadata_features(table: pandas.DataFrame, features: str, genres: Sequence[str]) -> Floats:
    """Builds the columns of one baseline.

    Args:
        table: year (nullable), genres (`|` between them).
        features: "year", "genre" or "year_genre".
        genres: the names that get a column.

    Returns: (N, K) float64: the year (NaN where missing) where asked for, then 0 or 1 per genre.
    """
    import pandas

    if features not in METADATA_BASELINES:
        raise ValueError(f"features must be one of {', '.join(METADATA_BASELINES)}, got {features=}")
    columns: list[Floats] = []
    if features != "genre":
        columns.append(
            pandas.to_numeric(table["year"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        )
    if features != "year":
        listed = [set(names) for names in split_genres(table["genres"])]
        columns.extend(np.array([name in names for names in listed], dtype=np.float64) for name in genres)
    return np.column_stack(columns)


def fit_metadata(train: pandas.DataFrame, features: str, seed: int) -> MetadataModel | None:
    """Fits one metadata baseline.

    Args:
        train: year, genres, label.
        features: "year" and "year_genre" are gradient boosting (a year acts in no straight line);
            "genre" is logistic regression on one column per genre.
        seed: int >= 0.

    Returns: the model, or None where `train` lacks the columns, their values, or a class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    lacks_year = features != "genre" and not has_years(train)
    lacks_genre = features != "year" and not has_genres(train)
    labels = train["label"].to_numpy(np.int64)
    if lacks_year or lacks_genre or np.bincount(labels, minlength=2).min() < MINIMUM_PER_CLASS:
        return None
    genres = tuple(sorted({name for names in split_genres(train["genres"]) for name in names}))
    genres = genres if features != "year" else ()
    if features == "genre":
        classifier = LogisticRegression(max_iter=1000)
    else:
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
    # On a shared machine the threads of gradient boosting wait for each other far longer than they work.
    with threadpool_limits(1, user_api="openmp"):
        classifier.fit(metadata_features(train, features, genres), labels)
    return MetadataModel(features, genres, classifier)


def metadata_baselines(
    train: pandas.DataFrame, test: pandas.DataFrame, *, seed: int, confidence: float
) -> dict[str, BaselineResult]:
    """Scores year, genres, and both, without any poster.

    Args:
        train: year (nullable), genres (`|` joined, may be empty), label; what the baselines are fitted on.
        test: the same columns; what they are scored on, both classes present.
        seed: int >= 0.
        confidence: of the intervals, between 0 and 1.

    Returns: "year", "genre", "year_genre"; without those that `train` or `test` has no values for.

    Raises: EvaluationError where `test` has one class only.
    """
    labels = check_labels(test["label"].to_numpy())
    results: dict[str, BaselineResult] = {}
    for name in METADATA_BASELINES:
        if (name != "genre" and not has_years(test)) or (name != "year" and not has_genres(test)):
            continue
        model = fit_metadata(train, name, seed)
        if model is not None:
            results[name] = baseline_result(name, labels, model.probabilities(test), confidence)
    return results


def baseline_result(
    name: str, labels: npt.NDArray[np.int64], probabilities: Floats, confidence: float
) -> BaselineResult:
    """Scores one baseline's probabilities (N,) at a threshold of 0.5."""
    right = int(((probabilities >= 0.5) == labels).sum())
    return BaselineResult(
        name,
        probabilities,
        delong_interval(labels, probabilities, confidence),
        wilson_interval(right, len(labels), confidence),
    )


def colour_histograms(images: npt.NDArray[np.uint8], rows: npt.ArrayLike) -> Floats:
    """Counts the colours of posters.

    Args:
        images: (N, H, W, 3) uint8, as stored in a prepared dataset; may be a memory map.
        rows: (R,) which ones.

    Returns: (R, 64) shares of the pixels in each of 4 x 4 x 4 colours; a row sums to 1.
    """
    wanted = np.asarray(rows, dtype=np.int64)
    result = np.zeros((len(wanted), LEVELS**3))
    step = max(1, min(images.shape[1:3]) // PIXELS_PER_SIDE)
    for position, row in enumerate(wanted):
        levels = (images[row, ::step, ::step] // (256 // LEVELS)).astype(np.int64).reshape(-1, 3)
        codes = levels @ np.array([LEVELS**2, LEVELS, 1])
        result[position] = np.bincount(codes, minlength=LEVELS**3) / len(codes)
    return result


def colour_baseline(
    images: npt.NDArray[np.uint8],
    train_indices: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    rows: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    confidence: float,
) -> BaselineResult | None:
    """Scores a logistic regression of the colour histogram.

    Args:
        images: (N, H, W, 3) uint8 memory map.
        train_indices, train_labels: (T,) which images it is fitted on, and 0 or 1 for each.
        rows, labels: (R,) which images it is scored on, and 0 or 1 for each, both classes present.
        confidence: of the intervals, between 0 and 1.

    Returns: the result named "colour"; None where the train rows lack a class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted_labels = np.asarray(train_labels, dtype=np.int64)
    if np.bincount(fitted_labels, minlength=2).min() < MINIMUM_PER_CLASS:
        return None
    # Square roots spread the many small shares (the Hellinger distance between histograms).
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(np.sqrt(colour_histograms(images, train_indices)), fitted_labels)
    probabilities = predict(classifier, np.sqrt(colour_histograms(images, rows)))
    return baseline_result("colour", check_labels(labels), probabilities, confidence)
