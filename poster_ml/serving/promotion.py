"""Challenger against champion: on posters that chose neither, a paired test, and the verdict written down.

Design. Epoch, setting and run are chosen on the validation posters, so these flatter whatever was
chosen: the more was tried, the more. The decision is therefore taken on the test posters, which no
search reads. That keeps the error whatever the search was, without counting what it compared. What
uses test posters up is deciding on them again and again; so the k-th decision on the same posters
is held to the level ERROR / (k (k + 1)). These levels sum to ERROR: the chance of even one false
promotion, in any number of decisions, stays below it (`docs/evaluation.md`,
`benchmarks/promotion_simulation.py`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import mlflow
import numpy.typing as npt
import pandas as pd

from poster_ml.errors import RegistryError
from poster_ml.evaluation.compare import align_predictions
from poster_ml.evaluation.stats import Interval, delong_difference
from poster_ml.serving.registry import CHALLENGER, CHAMPION, find_version, move_champion

ERROR = 0.025  # chance of even one false promotion among all decisions on the same posters
SPLIT = "test"


@dataclass(frozen=True)
class Promotion:
    """The result of one comparison.

    champion, challenger: version numbers as they were before. difference, low, high: ROC AUC of the
    challenger minus that of the champion, with the interval that lies above 0 exactly where it is promoted.
    p_value: DeLong's paired test, one-sided. decision: its place among those on these posters, from 1.
    level: what `p_value` had to be below. posters: how many both scored. promoted: whether the challenger is
    champion now.
    """

    name: str
    champion: int
    challenger: int
    posters: int
    difference: float
    low: float
    high: float
    p_value: float
    decision: int
    level: float
    promoted: bool

    def text(self) -> str:
        """Returns the verdict in one line."""
        verdict = "is champion now" if self.promoted else "stays challenger: not clearly better"
        return (
            f"{self.name} version {self.challenger} {verdict}; ROC AUC {self.difference:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}] against version {self.champion} "
            f"on the same {self.posters:,} {SPLIT} posters, one-sided p={self.p_value:.4f} "
            f"(decision {self.decision} on these posters: better below {self.level:.4f})"
        )


def decision_level(decision: int) -> float:
    """Returns the one-sided level of a decision: ERROR / (k (k + 1)); all of them together sum to ERROR.

    Args:
        decision: k, its place among the decisions on the same posters, at least 1.
    """
    return ERROR / (decision * (decision + 1))


def decide(
    labels: npt.ArrayLike, challenger: npt.ArrayLike, champion: npt.ArrayLike, level: float
) -> tuple[Interval, float]:
    """Asks whether the challenger ranks the same posters better.

    Args:
        labels: (N,) 0 or 1, both present.
        challenger, champion: (N,) scores, higher for Fresh.
        level: one-sided, between 0 and 0.5.

    Returns: the difference in ROC AUC with DeLong's paired interval of confidence 1 - 2 * level,
        and the one-sided p-value, below `level` exactly where the interval lies above 0.
    """
    difference, two_sided = delong_difference(labels, challenger, champion, 1.0 - 2.0 * level)
    return difference, two_sided / 2.0 if difference.estimate > 0 else 1.0 - two_sided / 2.0


def promote(name: str) -> Promotion:
    """Makes the challenger champion where it is better on the same test posters (design: see the module).

    The verdict is written on the challenger's version tags either way; the registered model remembers which
    pairs were decided on which dataset. Deciding a pair again gives the same verdict and uses nothing up.

    Args:
        name: of the registered model, "poster-vgg16".

    Raises: RegistryError where an alias, test predictions or a common dataset is missing.
    """
    client = mlflow.MlflowClient()
    versions = {CHALLENGER: find_version(name, CHALLENGER), CHAMPION: find_version(name, CHAMPION)}
    numbers = {role: int(version.version) for role, version in versions.items()}
    prints = {role: version.tags.get("dataset.fingerprint", "") for role, version in versions.items()}
    fingerprint = prints[CHALLENGER]
    if fingerprint != prints[CHAMPION]:
        raise RegistryError(
            f"{name}: champion (version {numbers[CHAMPION]}) and challenger (version {numbers[CHALLENGER]}) "
            f"were trained on different datasets ({prints[CHAMPION][:12]}, {fingerprint[:12]}): "
            "train both on one"
        )
    labels, scores, _ = align_predictions({role: _predictions(each) for role, each in versions.items()})
    number = _decision_number(client, name, fingerprint, f"{numbers[CHALLENGER]}>{numbers[CHAMPION]}")
    level = decision_level(number)
    difference, p_value = decide(labels, scores[CHALLENGER], scores[CHAMPION], level)
    verdict = Promotion(
        name=name,
        champion=numbers[CHAMPION],
        challenger=numbers[CHALLENGER],
        posters=len(labels),
        difference=difference.estimate,
        low=difference.low,
        high=difference.high,
        p_value=p_value,
        decision=number,
        level=level,
        promoted=p_value < level,
    )
    tags = {
        "verdict": "promoted" if verdict.promoted else "not promoted",
        "against": str(verdict.champion),
        "split": SPLIT,
        "posters": str(len(labels)),
        "auc_difference": f"{verdict.difference:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}]",
        "p_value": f"{p_value:.6f}",
        "decision": str(number),
        "level": f"{level:.6f}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, str(verdict.challenger), f"promotion_{key}", value)
    if verdict.promoted:
        move_champion(name, str(verdict.challenger))
    return verdict


def _decision_number(client: Any, name: str, fingerprint: str, pair: str) -> int:
    """Returns the place of a pair among those decided on a dataset, and remembers it before it is decided."""
    key = f"decisions.{fingerprint[:24]}"
    tag = client.get_registered_model(name).tags.get(key, "")
    pairs = tag.split(",") if tag else []
    if pair not in pairs:
        pairs.append(pair)
        client.set_registered_model_tag(name, key, ",".join(pairs))
    return pairs.index(pair) + 1


def _predictions(version: Any) -> pd.DataFrame:
    path = f"evaluation/{SPLIT}/predictions.csv"
    try:
        text = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{path}")
    except (mlflow.MlflowException, OSError) as error:
        raise RegistryError(
            f"version {version.version} of {version.name} has no {path} in its run: "
            f"run `poster-ml evaluate --run {version.run_id} --split {SPLIT}` first"
        ) from error
    return pd.read_csv(io.StringIO(text), dtype={"movie_id": str})
