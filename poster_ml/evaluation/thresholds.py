"""From which probability on a poster is called Fresh; chosen on validation, never on the posters reported."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.metrics import check_predictions

THRESHOLD_RULES = ("half", "youden", "cost")


def choose_threshold(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    rule: str,
    *,
    cost_false_fresh: float = 1.0,
    cost_false_rotten: float = 1.0,
) -> float:
    """Chooses a decision threshold on validation predictions.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) of Fresh in [0, 1].
        rule: "half" is 0.5 whatever the predictions; "youden" maximises sensitivity + specificity - 1
            (Youden 1950); "cost" minimises the summed cost of the errors made.
        cost_false_fresh: cost of calling a Rotten poster Fresh, > 0; rule "cost" only.
        cost_false_rotten: cost of calling a Fresh poster Rotten, > 0; rule "cost" only.

    Returns: a threshold in the open interval (0, 1), as `ServingSettings` takes it: half-way between two
        neighbouring probabilities, or between the outermost one and 0 or 1, so that new predictions near it
        fall on the nearer side; among equally good ones the one nearest to 0.5. A poster whose probability
        is exactly 0 or 1 stays Rotten or Fresh whatever the costs: no threshold in (0, 1) can change that.

    Raises: EvaluationError as `metrics.score`; ValueError for an unknown rule or a cost not above 0.
    """
    if rule not in THRESHOLD_RULES:
        raise ValueError(f"rule must be one of {', '.join(THRESHOLD_RULES)}, got {rule=}")
    if not (cost_false_fresh > 0 and cost_false_rotten > 0):
        raise ValueError(f"costs must be > 0, got {cost_false_fresh=}, {cost_false_rotten=}")
    truth, values = check_predictions(labels, probabilities)
    if rule == "half":
        return 0.5
    distinct = np.unique(values)
    edges = np.r_[0.0, distinct, 1.0]
    candidates = (edges[:-1] + edges[1:]) / 2.0  # (U + 1,); at least one of them lies inside (0, 1)
    candidates = candidates[(candidates > 0.0) & (candidates < 1.0)]
    fresh, rotten = np.sort(values[truth == 1]), np.sort(values[truth == 0])
    false_rotten = np.searchsorted(fresh, candidates, side="left")
    false_fresh = len(rotten) - np.searchsorted(rotten, candidates, side="left")
    if rule == "youden":
        loss = false_rotten / len(fresh) + false_fresh / len(rotten)
    else:
        loss = cost_false_rotten * false_rotten + cost_false_fresh * false_fresh
    best = candidates[np.isclose(loss, loss.min(), rtol=0, atol=1e-12)]
    return float(best[np.argmin(np.abs(best - 0.5))])
