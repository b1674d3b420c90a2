"""Challenger against champion: the same posters, a paired test, and the verdict written down."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poster_ml.errors import RegistryError
from poster_ml.serving.load import model_folder, quiet_unless_watched
from poster_ml.serving.registry import CHALLENGER, CHAMPION, find_version, move_champion
from poster_ml.serving.settings import SETTINGS_FILE, read_settings

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Promotion:
    """What came of one comparison.

    champion, challenger: version numbers as they were before. difference, low, high: ROC AUC of the
    challenger minus that of the champion, with its paired interval. p_value: DeLong's paired test, two-sided.
    posters: how many both scored. promoted: whether the challenger is champion now.
    """

    name: str
    champion: int
    challenger: int
    split: str
    posters: int
    difference: float
    low: float
    high: float
    p_value: float
    promoted: bool

    def text(self) -> str:
        """Returns the verdict in one line."""
        verdict = "is champion now" if self.promoted else "stays challenger: not clearly better"
        return (
            f"{self.name} version {self.challenger} {verdict}; ROC AUC {self.difference:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}] against version {self.champion} "
            f"on the same {self.posters:,} {self.split} posters, p={self.p_value:.4f}"
        )


def promote(name: str, *, split: str = "val", confidence: float = 0.95) -> Promotion:
    """Makes the challenger champion where it is better on the same posters.

    Better: a higher ROC AUC, and DeLong's paired test below 1 - confidence: one measure named beforehand
    needs no correction. The verdict is written on the
    challenger's version tags either way.

    Args:
        name: of the registered model, "poster-vgg16".
        split: whose predictions are compared: "val", or another split that both runs were evaluated on.
        confidence: in (0.5, 1).

    Raises: RegistryError where an alias, predictions or a common dataset is missing.
    """
    import mlflow

    from poster_ml.evaluation.compare import compare

    champion, challenger = find_version(name, CHAMPION), find_version(name, CHALLENGER)
    _check_same_data(name, champion, challenger)
    versions = {"champion": champion, "challenger": challenger}
    table = compare(
        {role: [_predictions(version, split)] for role, version in versions.items()},
        threshold={role: [_threshold(version)] for role, version in versions.items()},
        confidence=confidence,
    )
    difference = table.difference(CHALLENGER, CHAMPION)
    p_value = table.pairs[0].roc_auc.p
    verdict = Promotion(
        name=name,
        champion=int(champion.version),
        challenger=int(challenger.version),
        split=split,
        posters=table.posters,
        difference=difference.estimate,
        low=difference.low,
        high=difference.high,
        p_value=p_value,
        promoted=difference.estimate > 0 and p_value < 1.0 - confidence,
    )
    _write_verdict(mlflow.MlflowClient(), verdict)
    if verdict.promoted:
        move_champion(name, str(challenger.version))
    return verdict


def _check_same_data(name: str, champion: Any, challenger: Any) -> None:
    prints = [version.tags.get("dataset.fingerprint", "unknown") for version in (champion, challenger)]
    if prints[0] != prints[1]:
        raise RegistryError(
            f"{name}: champion (version {champion.version}) and challenger (version {challenger.version}) "
            f"were trained on different datasets ({prints[0][:12]}, {prints[1][:12]}): train both on one"
        )


def _predictions(version: Any, split: str) -> pandas.DataFrame:
    import mlflow
    import pandas as pd

    quiet_unless_watched()
    path = f"evaluation/{split}/predictions.csv"
    with tempfile.TemporaryDirectory() as folder:
        try:
            local = mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path=path, dst_path=folder
            )
            return pd.read_csv(Path(local), dtype={"movie_id": str})
        except (mlflow.MlflowException, OSError, ValueError) as error:
            raise RegistryError(
                f"version {version.version} of {version.name} has no {path} in its run: "
                f"run `poster-ml evaluate --run {version.run_id} --split {split}` first"
            ) from error


def _threshold(version: Any) -> float:
    folder = model_folder(f"models:/{version.name}/{version.version}")
    return read_settings(folder / "artifacts" / SETTINGS_FILE).threshold


def _write_verdict(client: Any, verdict: Promotion) -> None:
    tags = {
        "promotion_verdict": "promoted" if verdict.promoted else "not promoted",
        "promotion_against": str(verdict.champion),
        "promotion_split": verdict.split,
        "promotion_posters": str(verdict.posters),
        "promotion_auc_difference": f"{verdict.difference:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}]",
        "promotion_p_value": f"{verdict.p_value:.6f}",
        "promotion_time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, value in tags.items():
        client.set_model_version_tag(verdict.name, str(verdict.challenger), key, value)
