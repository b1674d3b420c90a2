"""What a poster adds to year and genres: the gain in ROC AUC, on the same posters, with a paired interval.

Design. Two predictors of the same evaluated posters are compared:

1. metadata: gradient boosting of year + genres, fitted on the train rows;
2. metadata + poster: a logistic regression of two numbers, the metadata model's logit and the poster
   model's logit. It must not be fitted on posters that either model was trained on (both would look too
   good there, and the sharper over-fitter would get the larger weight) nor on the evaluated posters.

So when another split is at hand (test is evaluated, validation is there), the regression is fitted on that
split. When only one split is at hand (validation after training), it is cross-fitted inside that split:
each fold is predicted by a regression fitted on the others. Such a gain is too high by what the choice of
the poster model's epoch (and setting) on these posters brought, and is called optimistic; the one to quote
is that of test, whose posters chose nothing. The gain is AUC(2) - AUC(1) with DeLong's paired
interval, which takes both predictors as given; the noise of three fitted coefficients is not in it and
lowers the gain rather than raising it. A poster that adds nothing gives a gain near 0, or slightly below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.baselines import metadata_probabilities
from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.stats import Interval, delong_difference, delong_interval
from poster_ml.seeding import derive_seed

if TYPE_CHECKING:
    import pandas

FOLDS = 5


@dataclass(frozen=True)
class PosterGain:
    """Year + genres with and without the poster.

    `poster_over_metadata` is the ROC AUC of the poster alone less that of year + genres alone, paired.
    `optimistic` says that the evaluated posters also chose the poster model's epoch: the gain is too high.
    """

    combined_auc: Interval
    gain: Interval
    design: str
    poster_over_metadata: Interval
    optimistic: bool


def poster_gain(
    train: pandas.DataFrame,
    evaluated: pandas.DataFrame,
    probabilities: npt.ArrayLike,
    *,
    seed: int,
    confidence: float,
    validation: pandas.DataFrame | None = None,
    validation_probabilities: npt.ArrayLike | None = None,
) -> PosterGain | None:
    """Measures what the poster adds to year and genres (design: see the module).

    Args:
        train: year, genres, label of the rows that the metadata model is fitted on.
        evaluated: the same columns, both classes present, no row of `train`.
        probabilities: (N,) of Fresh by the poster model for `evaluated`.
        seed: int >= 0.
        confidence: of the intervals, between 0 and 1.
        validation, validation_probabilities: another split and the poster model's probabilities for it;
            without them `evaluated` is taken for validation itself: the combination is cross-fitted within
            it, and the gain called optimistic.

    Returns: the gain, or None where years or genres are missing or a class has too few posters to fit on.

    Raises: EvaluationError as `metrics.check_predictions`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, values = check_predictions(evaluated["label"].to_numpy(), probabilities)
    other = evaluated if validation is None else validation
    found = metadata_probabilities(train, "year_genre", seed, evaluated, other)
    folds = min(FOLDS, int(np.bincount(labels, minlength=2).min()))
    if found is None or (validation is None and folds < 2):
        return None
    metadata = found[0]
    features = np.column_stack([logit(metadata), logit(values)])
    # Scaled first: an over-fitted poster model has logits of +-50, and the penalty must not care.
    combiner = make_pipeline(StandardScaler(), LogisticRegression())
    if validation is None or validation_probabilities is None:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "gain"))
        combined = cross_val_predict(combiner, features, labels, cv=splitter, method="predict_proba")[:, 1]
        design = f"combination cross-fitted in {folds} folds of the {len(labels)} posters"
    else:
        truth, known = check_predictions(validation["label"].to_numpy(), validation_probabilities)
        combiner.fit(np.column_stack([logit(found[1]), logit(known)]), truth)
        combined = combiner.predict_proba(features)[:, 1]
        design = f"combination fitted on {len(truth)} posters of another split"
    return PosterGain(
        combined_auc=delong_interval(labels, combined, confidence),
        gain=delong_difference(labels, combined, metadata, confidence)[0],
        design=design,
        poster_over_metadata=delong_difference(labels, values, metadata, confidence)[0],
        optimistic=validation is None,
    )
