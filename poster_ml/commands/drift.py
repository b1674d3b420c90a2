"""`poster-ml drift`: the posters of a period in the prediction log against those of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError
from poster_ml.evaluation.drift import MAJOR_DRIFT, MODERATE_DRIFT, SLIGHT, FeatureDrift, compare_features
from poster_ml.progress import progress
from poster_ml.seeding import generator
from poster_ml.serving.prediction_log import KEY_DIGITS, STATISTICS, input_statistics, read_log

if TYPE_CHECKING:
    import pandas

INPUTS = (*STATISTICS, "width", "height", "aspect", "file_bytes")
MOST_MEASURED = 5000  # training posters that the period is compared with
MOST_SCORED = 1000  # validation posters that the model scores
_BATCH = 64
_COLUMNS = ("time", "model", "poster", *STATISTICS, "width", "height", "file_bytes", "probability", "error")


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
    features: tuple[FeatureDrift, ...]
    notes: tuple[str, ...]
    verdict: str

    def text(self) -> str:
        """Returns the table and the verdict."""
        period = (
            f"period {self.first} to {self.last}: {self.posters:,} posters in {self.log_rows:,} rows "
            f"({self.repeated:,} repeated, {self.failed:,} could not be scored), "
            f"{self.known:,} of them in the dataset"
        )
        head = f"{'feature':<12} {'training':>10} {'period':>10}  {'PSI':<22} {'p':>7}  {'KS':<22} "
        head += f"{'p':>7}  drift"
        rows = [
            f"{item.name:<12} {item.reference_mean:>10.4g} {item.current_mean:>10.4g}  {item.psi.text():<22} "
            f"{item.psi_p:>7.4f}  {item.ks.text():<22} {item.ks_p:>7.4f}  {item.verdict}"
            for item in self.features
        ]
        return "\n".join([period, "", head, *rows, "", *self.notes, f"verdict: {self.verdict}"])


def run_drift(
    log: Path,
    data: Path,
    *,
    model_uri: str = "",
    since: str = "",
    until: str = "",
    confidence: float = 0.95,
    seed: int = 0,
) -> DriftResult:
    """Compares a period of the prediction log with a prepared dataset.

    The inputs are compared with the posters of `train`; the probabilities, where a model is named, with what
    it says of `val`, since a model is surer of the posters that it was fitted to.

    Args:
        log: as written by the service, see `serving.prediction_log`.
        data: the prepared dataset that the model was trained on.
        model_uri: as for `load_keras_model`; empty leaves the probabilities out.
        since, until: ISO 8601 dates or times, UTC where they name no zone; since is inside, until outside.
        confidence: in (0.5, 1); 1 - it is the chance of any false alarm.
        seed: an int >= 0, of the posters drawn and of the tests.

    Raises: DatasetError where the log, the period or the dataset cannot be used; EvaluationError where the
        period has fewer than 50 posters; RegistryError for the model.
    """
    entries, broken = _period(log, since, until)
    dataset = PreparedDataset.open(data)
    posters = _last_scored(entries)
    reference = _input_features(dataset, _drawn(dataset.indices("train"), MOST_MEASURED, seed))
    current = {name: posters[name].to_numpy(dtype=np.float64) for name in INPUTS}
    note = "probabilities were not compared: name the model with --model-uri"
    if model_uri:
        own, note = _rows_of_model(entries, model_uri)
        reference["probability"] = _score(
            dataset, _drawn(dataset.indices("val"), MOST_SCORED, seed), model_uri
        )
        current["probability"] = _last_scored(own)["probability"].to_numpy(dtype=np.float64)
    notes = [note] if note else []
    if broken:
        notes.append(f"{broken:,} lines of the log are broken and were left out")
    found = compare_features(reference, current, confidence=confidence, seed=seed)
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
        features=tuple(found),
        notes=tuple(notes),
        verdict=_verdict(found),
    )


def _utc(text: str) -> datetime:
    """Returns a moment of ISO 8601, UTC where it names no zone. Raises: ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _limit(text: str, option: str, otherwise: datetime) -> datetime:
    try:
        return _utc(text) if text else otherwise.replace(tzinfo=UTC)
    except ValueError:
        raise DatasetError(
            f"{option} must be a date or time such as 2026-01-31 or 2026-01-31T18:00, got {text!r}"
        ) from None


def _period(log: Path, since: str, until: str) -> tuple[pandas.DataFrame, int]:
    """Returns the entries of the period and how many lines of the log are broken."""
    import pandas as pd

    begin, end = _limit(since, "--since", datetime.min), _limit(until, "--until", datetime.max)
    if begin >= end:
        raise DatasetError(
            f"the period is empty: --since {begin.isoformat()} is not before {end.isoformat()}"
        )
    broken = total = 0
    kept: list[tuple[Any, ...]] = []
    for entry in read_log(log):
        try:
            if entry is None or "probability" not in entry:
                raise ValueError("no entry of ours")
            moment = _utc(entry["time"])
        except ValueError:
            broken += 1
            continue
        total += 1
        if begin <= moment < end:
            kept.append(tuple(entry.get(name) for name in _COLUMNS))
    if not kept:
        raise DatasetError(
            f"{log} has no entry in the period; it has {total:,} in all: change --since or --until"
        )
    return pd.DataFrame(kept, columns=list(_COLUMNS)), broken


def _last_scored(entries: pandas.DataFrame) -> pandas.DataFrame:
    """Returns one row per poster that was scored, the newest; with `aspect`, width / height."""
    scored = entries[entries["error"].isna()].drop_duplicates("poster", keep="last")
    return scored.assign(aspect=scored["width"] / scored["height"])


def _drawn(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    return np.sort(generator(seed, "drift", "rows").choice(rows, most, replace=False))


def _input_features(dataset: PreparedDataset, rows: np.ndarray) -> dict[str, Any]:
    """Returns the features of prepared posters, measured as the service measures them: name to (n,)."""
    measured = [
        input_statistics(np.array(dataset.images[row])) for row in progress(rows, "measuring posters")
    ]
    features: dict[str, Any] = {name: np.array([item[name] for item in measured]) for name in STATISTICS}
    index = dataset.index.iloc[rows]
    index = index.assign(aspect=index["width"] / index["height"])
    return features | {name: index[name].to_numpy(np.float64) for name in INPUTS if name in index}


def _rows_of_model(entries: pandas.DataFrame, model_uri: str) -> tuple[pandas.DataFrame, str]:
    """Returns the entries that this model wrote, and a note where others wrote some too."""
    from poster_ml.serving.identity import model_id_of
    from poster_ml.tracking.store import connect, needs_store

    if needs_store(model_uri):
        connect()
    wanted = model_id_of(model_uri)
    own = entries[entries["model"] == wanted]
    if own.empty:
        there = ", ".join(sorted(entries["model"].dropna().astype(str).unique())[:5])
        raise DatasetError(
            f"the period has no row of {model_uri} ({wanted}); its rows are of {there}: name one"
        )
    left = len(entries) - len(own)
    note = f"probabilities are those of {wanted}; {left:,} rows of other models count for the inputs only"
    return own, note if left else ""


def _score(dataset: PreparedDataset, rows: np.ndarray, model_uri: str) -> np.ndarray:
    """Returns what the model says of prepared posters, (n,) in [0, 1]."""
    from poster_ml.serving.load import load_poster_model

    model = load_poster_model(model_uri).unwrap_python_model()
    options = dataset.manifest.get("options", {})
    fit = str(options.get("fit", model.settings.fit))
    if (dataset.size, fit) != (model.settings.size, model.settings.fit):
        raise DatasetError(
            f"{dataset.folder} was prepared with size {dataset.size} and fit {fit}, the model takes "
            f"{model.settings.size} and {model.settings.fit}: name the dataset that it was trained on"
        )
    batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    logits = [model.logits(np.array(dataset.images[batch])) for batch in progress(batches, "scoring")]
    return np.asarray(expit(np.concatenate(logits) / model.settings.temperature))


def _verdict(found: Sequence[FeatureDrift]) -> str:
    drifted = [item.name for item in found if item.verdict in (MODERATE_DRIFT, MAJOR_DRIFT)]
    slight = [item.name for item in found if item.verdict == SLIGHT]
    if drifted:
        return f"drift in {', '.join(drifted)}: look at the new posters, and at the accuracy on new labels"
    if slight:
        return f"no drift that matters; significant but slight in {', '.join(slight)} (PSI below 0.1)"
    return "no drift seen"
