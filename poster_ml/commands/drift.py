"""`poster-ml drift`: the posters of a period in the prediction log against those of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError
from poster_ml.evaluation.drift import compare_features, verdict
from poster_ml.pipeline.drift import INPUTS, last_scored, training_inputs, validation_probabilities
from poster_ml.serving.prediction_log import KEY_DIGITS, read_period


@dataclass(frozen=True)
class DriftResult:
    """What was compared and the result.

    log_rows: entries in the period. posters: different ones that were scored, each taken once. repeated: rows
    of a poster that the period had before. failed: rows that could not be scored. broken_lines: of the whole
    log. known: posters of the period that are in the dataset. first, last: times of the period, ISO 8601.
    notes: what the numbers do not show. verdict: in words.
    """

    log_rows: int
    posters: int
    repeated: int
    failed: int
    broken_lines: int
    known: int
    first: str
    last: str
    features: list[dict[str, Any]]
    notes: tuple[str, ...]
    verdict: str

    def text(self) -> str:
        """Returns the table and the verdict."""
        period = (
            f"period {self.first} to {self.last}: {self.posters:,} posters in {self.log_rows:,} rows "
            f"({self.repeated:,} repeated, {self.failed:,} could not be scored), "
            f"{self.known:,} of them in the dataset"
        )
        columns = ["feature", "training", "period", "PSI", "p", "KS", "p", "drift"]
        rows = []
        for one in self.features:
            means = [f"{one['reference_mean']:.4g}", f"{one['current_mean']:.4g}"]
            tests = [one["psi"].text(), f"{one['psi_p']:.4f}", one["ks"].text(), f"{one['ks_p']:.4f}"]
            rows.append([one["name"], *means, *tests, one["verdict"]])
        table = pd.DataFrame(rows, columns=columns).to_string(index=False)
        return "\n".join([period, "", table, "", *self.notes, f"verdict: {self.verdict}"])


def run_drift(
    log: Path, data: Path, *, model_uri: str = "", since: str = "", until: str = "", seed: int = 0
) -> DriftResult:
    """Compares a period of the prediction log with a prepared dataset.

    The inputs are compared with the posters of `train`; the probabilities, where a model is named,
    with what it says of `val`, since a model is surer of the posters that it was fitted to. The
    chance of any false alarm is 5 %.

    Args:
        log: as written by the service, see `serving.prediction_log`.
        data: the prepared dataset that the model was trained on.
        model_uri: as for `load_poster_model`; empty leaves the probabilities out.
        since, until: ISO 8601 dates or times, UTC where they name no zone; since is inside, until
            outside.
        seed: an int >= 0, of the posters drawn and of the tests.

    Raises: DatasetError where the log, the period or the dataset cannot be used; EvaluationError
        where the period has fewer than 50 posters; RegistryError for the model.
    """
    entries, broken = read_period(log, since, until)
    dataset = PreparedDataset.open(data)
    posters = last_scored(entries)
    reference = training_inputs(dataset, seed)
    current = {name: posters[name].to_numpy(np.float64) for name in INPUTS}
    notes = [] if model_uri else ["probabilities were not compared: name the model with --model-uri"]
    if model_uri:
        reference["probability"], model_id = validation_probabilities(dataset, model_uri, seed)
        own = entries[entries["model"] == model_id]
        if own.empty:
            raise DatasetError(
                f"the period has no row of {model_uri} ({model_id}): name the model that answered then, "
                "whose id is in every line of the log"
            )
        current["probability"] = last_scored(own)["probability"].to_numpy(np.float64)
        if others := len(entries) - len(own):
            what = f"{others:,} rows of other models count for the inputs only"
            notes.append(f"probabilities are those of {model_id}; {what}")
    notes += [f"{broken:,} lines of the log are broken and were left out"] if broken else []
    found = compare_features(reference, current, seed=seed)
    known = set(dataset.index["sha256"].astype(str).str[:KEY_DIGITS])
    failed = int(entries["error"].notna().sum())
    return DriftResult(
        log_rows=len(entries),
        posters=len(posters),
        repeated=len(entries) - failed - len(posters),
        failed=failed,
        broken_lines=broken,
        known=int(posters["poster"].isin(known).sum()),
        first=str(entries["time"].min()),
        last=str(entries["time"].max()),
        features=found,
        notes=tuple(notes),
        verdict=verdict(found),
    )
