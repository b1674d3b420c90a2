"""All metrics of one set of predictions, as the tests compare them."""

import numpy as np

from poster_ml.evaluation.metrics import METRIC_NAMES, check_predictions, weighted_scores


def score(labels: object, probabilities: object, threshold: float = 0.5) -> dict[str, float]:
    """Scores predictions, each poster with the weight 1."""
    truth, values = check_predictions(labels, probabilities)
    found = weighted_scores(truth, values, threshold, np.ones((1, len(truth))))
    return {name: float(found[name][0]) for name in METRIC_NAMES}
