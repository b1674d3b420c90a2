"""Challenger against champion: on posters that chose neither, a paired test, and the verdict written down.

Design. Epoch, setting and run are chosen on the validation posters, so these flatter whatever was chosen:
the more was tried, the more. The decision is therefore taken on the test posters, which no search reads. That
keeps the error whatever the search was, without counting what it compared. What uses test posters up is
deciding on them again and again; so the k-th decision on the same posters is held to the level
ERROR / (k (k + 1)). These levels sum to ERROR: the chance of even one false promotion, in any number of
decisions, stays below it (`docs/evaluation.md`, `benchmarks/promotion_simulation.py`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy.typing as npt
import pandas as pd

from poster_ml.errors import RegistryError
from poster_ml.evaluation.alignment import align_predictions
from poster_ml.evaluation.stats import Interval, delong_difference
from poster_ml.serving.load import quiet_unless_watched
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

    Returns: the difference in ROC AUC with DeLong's paired interval of confidence 1 - 2 * level, and the
        one-sided p-value, below `level` exactly where the interval lies above 0.
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
    champion, challenger = find_version(name, CHAMPION), find_version(name, CHALLENGER)
    fingerprint = _common_fingerprint(name, champion, challenger)
    versions = {CHALLENGER: challenger, CHAMPION: champion}
    labels, scores, _ = align_predictions({role: _predictions(each) for role, each in versions.items()})
    number = _decision_number(client, name, fingerprint, f"{challenger.version}>{champion.version}")
    level = decision_level(number)
    difference, p_value = decide(labels, scores[CHALLENGER], scores[CHAMPION], level)
    verdict = Promotion(
        name=name,
        champion=int(champion.version),
        challenger=int(challenger.version),
        posters=len(labels),
        difference=difference.estimate,
        low=difference.low,
        high=difference.high,
        p_value=p_value,
        decision=number,
        level=level,
        promoted=p_value < level,
    )
    _write_verdict(client, verdict)
    if verdict.promoted:
        move_champion(name, str(challenger.version))
    return verdict


def _common_fingerprint(name: str, champion: Any, challenger: Any) -> str:
    prints = [version.tags.get("dataset.fingerprint", "unknown") for version in (champion, challenger)]
    if prints[0] != prints[1]:
        raise RegistryError(
            f"{name}: champion (version {champion.version}) and challenger (version {challenger.version}) "
            f"were trained on different datasets ({prints[0][:12]}, {prints[1][:12]}): train both on one"
        )
    return str(prints[0])


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
    quiet_unless_watched()
    path = f"evaluation/{SPLIT}/predictions.csv"
    with tempfile.TemporaryDirectory() as folder:
        try:
            local = mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path=path, dst_path=folder
            )
            return pd.read_csv(Path(local), dtype={"movie_id": str})
        except (mlflow.MlflowException, OSError, ValueError) as error:
            raise RegistryError(
                f"version {version.version} of {version.name} has no {path} in its run: "
                f"run `poster-ml evaluate --run {version.run_id} --split {SPLIT}` first"
            ) from error


def _write_verdict(client: Any, verdict: Promotion) -> None:
    tags = {
        "promotion_verdict": "promoted" if verdict.promoted else "not promoted",
        "promotion_against": str(verdict.champion),
        "promotion_split": SPLIT,
        "promotion_posters": str(verdict.posters),
        "promotion_auc_difference": f"{verdict.difference:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}]",
        "promotion_p_value": f"{verdict.p_value:.6f}",
        "promotion_decision": str(verdict.decision),
        "promotion_level": f"{verdict.level:.6f}",
        "promotion_time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, value in tags.items():
        client.set_model_version_tag(verdict.name, str(verdict.challenger), key, value)
