"""What is known without looking at the poster, and with only its colours: the figures a model must beat.

Every baseline is fitted on the train rows and scored on the evaluated rows. One that the table cannot feed
(no years, no genres) is left out.

What a poster adds to year and genres is the gain in ROC AUC on the same posters, with a paired interval.

Design. Two predictors of the same evaluated posters are compared:

1. metadata: gradient boosting of year + genres, fitted on the train rows;
2. metadata + poster: a logistic regression of two numbers, the metadata model's logit and the poster
   model's logit. It must not be fitted on posters that either model was trained on (both would look too
   good there, and the sharper over-fitter would get the larger weight) nor on the evaluated posters.

So when another split is at hand (test is evaluated, validation is there), the regression is fitted on that
split: it is the one that is served (`combined.CombinedModel`). When only one split is at hand (validation
after training), it is cross-fitted inside that split: each fold is predicted by a regression fitted on the
others. Such a gain is too high by what the choice of the poster model's epoch (and setting) on these posters
brought, and is called optimistic; the one to quote is that of test, whose posters chose nothing. The gain is
AUC(2) - AUC(1) with DeLong's paired interval, which takes both predictors as given; the noise of three fitted
coefficients is not in it and lowers the gain rather than raising it. A poster that adds nothing gives a gain
near 0, or slightly below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.metadata import genre_columns, years
from poster_ml.evaluation.metrics import check_labels, check_predictions
from poster_ml.evaluation.stats import (
    Floats,
    Interval,
    Ranking,
    auc_difference,
    auc_interval,
    delong_interval,
)
from poster_ml.seeding import derive_seed

if TYPE_CHECKING:
    import pandas

METADATA_BASELINES = ("year", "genre", "year_genre")
LEVELS = 4  # colour levels per channel: 64 colours
PIXELS_PER_SIDE = 56  # a colour histogram does not need more
FOLDS = 5  # of the combination with the poster, where it is cross-fitted
MINIMUM_PER_CLASS = 2  # train rows of each class, below which nothing is fitted


@dataclass(frozen=True)
class BaselineResult:
    """How one baseline does on the evaluated posters; probabilities (N,) of Fresh in their order."""

    probabilities: Floats
    roc_auc: Interval

    @classmethod
    def of(cls, labels: npt.ArrayLike, probabilities: Floats, confidence: float) -> BaselineResult:
        """Scores probabilities (N,) by labels (N,), both classes present."""
        return cls(probabilities, delong_interval(check_labels(labels), probabilities, confidence))


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
    def fit(cls, train: pandas.DataFrame, features: str, seed: int) -> MetadataModel | None:
        """Fits one metadata baseline.

        Args:
            train: year, genres, label.
            features: "year" and "year_genre" are gradient boosting (a year acts in no straight line);
                "genre" is logistic regression on one column per genre.
            seed: int >= 0.

        Returns: None where `train` lacks the columns, two different values in them, or a class.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        labels = train["label"].to_numpy(np.int64)
        few = np.bincount(labels, minlength=2).min() < MINIMUM_PER_CLASS
        if few or not knows(train, features):
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

    def probabilities(self, table: pandas.DataFrame) -> Floats:
        """Returns (N,) probabilities of Fresh; years may be missing, unknown genres count as none."""
        from threadpoolctl import threadpool_limits

        same = _columns(table, self.features).reindex(columns=list(self.columns), fill_value=0)
        with threadpool_limits(1, user_api="openmp"):
            return np.asarray(self.classifier.predict_proba(same.to_numpy(np.float64))[:, 1], np.float64)


def knows(table: pandas.DataFrame, features: str) -> bool:
    """Says whether a table has two different years, and a genre, as far as a metadata baseline takes them."""
    no_years, no_genres = (
        len(np.unique(years(table)[~np.isnan(years(table))])) < 2,
        genre_columns(table).empty,
    )
    return not ((features != "genre" and no_years) or (features != "year" and no_genres))


def _columns(table: pandas.DataFrame, features: str) -> pandas.DataFrame:
    """Returns the year (NaN where missing) and a column of 0 and 1 per genre, as asked for."""
    import pandas

    year, genres = pandas.DataFrame({"year": years(table)}, index=table.index), genre_columns(table)
    parts = {"year": [year], "genre": [genres], "year_genre": [year, genres]}
    return pandas.concat(parts[features], axis=1)


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
    labels = test["label"].to_numpy()
    models = {name: MetadataModel.fit(train, name, seed) for name in METADATA_BASELINES if knows(test, name)}
    return {
        name: BaselineResult.of(labels, model.probabilities(test), confidence)
        for name, model in models.items()
        if model is not None
    }


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

    Returns: the result; None where the train rows lack a class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted_labels = np.asarray(train_labels, dtype=np.int64)
    if np.bincount(fitted_labels, minlength=2).min() < MINIMUM_PER_CLASS:
        return None
    # Square roots spread the many small shares (the Hellinger distance between histograms).
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    classifier.fit(np.sqrt(colour_histograms(images, train_indices)), fitted_labels)
    probabilities = classifier.predict_proba(np.sqrt(colour_histograms(images, rows)))[:, 1]
    return BaselineResult.of(labels, probabilities, confidence)


@dataclass(frozen=True)
class PosterGain:
    """Year + genres with and without the poster.

    `poster_over_metadata` is the ROC AUC of the poster alone less that of year + genres alone, paired.
    `optimistic` says that the evaluated posters also chose the poster model's epoch: the gain is too high.
    """

    metadata_auc: Interval
    combined_auc: Interval
    gain: Interval
    design: str
    poster_over_metadata: Interval
    optimistic: bool


def poster_gain(
    labels: npt.NDArray[np.int64],
    poster: Floats,
    metadata: Floats,
    combined: Floats,
    *,
    confidence: float,
    design: str,
    optimistic: bool,
    folds: npt.ArrayLike | None = None,
) -> PosterGain | None:
    """Measures what the poster adds to year and genres (design: see the module).

    Args:
        labels, poster: (N,) and the probabilities of Fresh by the poster alone, (N,) or (R, N) of several
            runs: then all figures are means over the runs, and the intervals speak of other seeds, too.
        metadata, combined: as `poster`, by year and genres alone, and with the poster; NaN where neither is
            known.
        confidence: of the intervals, between 0 and 1.
        design, optimistic: how the combination was fitted, as in `PosterGain`.
        folds: (N,) of a cross-validation, see `Ranking.of`.

    Returns: the gain on the posters whose year or genres are known; None where these are of one class.
    """
    rows = np.isfinite(np.atleast_2d(combined)).all(axis=0)
    if np.bincount(labels[rows], minlength=2).min() == 0:
        return None
    parts = None if folds is None else np.asarray(folds)[rows]
    alone, known, together = (
        Ranking.of(labels[rows], *np.atleast_2d(scores)[:, rows], folds=parts)
        for scores in (poster, metadata, combined)
    )
    return PosterGain(
        metadata_auc=auc_interval(known, confidence),
        combined_auc=auc_interval(together, confidence),
        gain=auc_difference(together, known, confidence)[0],
        design=design,
        poster_over_metadata=auc_difference(alone, known, confidence)[0],
        optimistic=optimistic,
    )


def cross_fitted(
    train: pandas.DataFrame, evaluated: pandas.DataFrame, probabilities: npt.ArrayLike, *, seed: int
) -> tuple[Floats, Floats] | None:
    """Combines year + genres with the poster within one split, each fold by what the others tell.

    Args:
        train: year, genres, label of the rows that the metadata model is fitted on.
        evaluated: the same columns, both classes present, no row of `train`.
        probabilities: (N,) of Fresh by the poster model for `evaluated`.
        seed: int >= 0.

    Returns: (N,) by year and genres alone, and (N,) with the poster; None where years or genres are missing,
        or a class has too few posters to fit on.

    Raises: EvaluationError as `metrics.check_predictions`.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    labels, values = check_predictions(evaluated["label"].to_numpy(), probabilities)
    model = MetadataModel.fit(train, "year_genre", seed)
    folds = min(FOLDS, int(np.bincount(labels, minlength=2).min()))
    if model is None or folds < 2 or not knows(evaluated, "year_genre"):
        return None
    metadata = model.probabilities(evaluated)
    features = np.column_stack([logit(metadata), logit(values)])
    splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "gain"))
    found = cross_val_predict(new_combiner(), features, labels, cv=splitter, method="predict_proba")
    return metadata, np.asarray(found[:, 1], dtype=np.float64)


def new_combiner() -> Any:
    """Returns an unfitted classifier of two logits (N, 2), of the metadata and of the poster."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Scaled first: an over-fitted poster model has logits of +-50, and the penalty must not care.
    return make_pipeline(StandardScaler(), LogisticRegression())
