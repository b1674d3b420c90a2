"""What a run left behind, read back: configuration, dataset, validation logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from poster_ml.config import ExperimentConfig, from_mapping
from poster_ml.data.folds import open_fold
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import DatasetError, TrackingError
from poster_ml.serving.settings import ServingSettings
from poster_ml.tracking.runs import RunLogger, RunRecord, fetched, open_run


def recorded_config(record: RunRecord) -> ExperimentConfig:
    """Reads the configuration that a run was made with. Raises: TrackingError, ConfigError."""
    with fetched(record.run_id, "experiment.yaml") as file:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return from_mapping(values, f"run {record.run_id}")


def recorded_dataset(record: RunRecord, data: Path | None = None) -> PreparedDataset:
    """Opens the dataset, and the fold, that a run was trained on, or another dataset that was named.

    Raises: DatasetError where it is not there, or is not the one that the run saw and was not named.
    """
    if data is None and "data" not in record.params:
        raise TrackingError(f"run {record.run_id} names no dataset: is it a training run? give --data DIR")
    dataset = PreparedDataset.open(data or Path(record.params["data"]))
    seen = record.tags.get("dataset.fingerprint", "")
    if data is None and seen != dataset.fingerprint:
        raise DatasetError(
            f"{dataset.folder} has changed since run {record.run_id} (now {dataset.fingerprint[:12]}, "
            f"was {seen[:12]}): name it with --data to use it all the same"
        )
    fold = record.tags.get("fold", "")
    return open_fold(dataset, fold) if fold and seen == dataset.fingerprint else dataset


def check_size(settings: ServingSettings, dataset: PreparedDataset, name: str = "the model") -> None:
    """Refuses a dataset of another size than a model takes; `name` is the model's. Raises: DatasetError."""
    if settings.size != dataset.size:
        raise DatasetError(
            f"{name} takes posters of {settings.size} pixels, {dataset.folder} has {dataset.size}: "
            f"prepare the data with --size {settings.size}"
        )


def logged_predictions(record: RunRecord, split: str) -> pd.DataFrame:
    """Returns what a run logged of a split: movie_id, label, probability per poster.

    Raises: TrackingError saying what to call first.
    """
    try:
        with fetched(record.run_id, f"evaluation/{split}/predictions.csv") as file:
            return pd.read_csv(file, dtype={"movie_id": str})
    except TrackingError as error:
        raise TrackingError(
            f"run {record.run_id} ({record.name}) has no predictions of {split}: "
            f"call `poster-ml evaluate --run {record.run_id} --split {split}` first"
        ) from error


def recorded_logits(
    record: RunRecord, dataset: PreparedDataset, config: ExperimentConfig
) -> dict[str, np.ndarray]:
    """Returns the validation logits that the run logged, as {"val": (n,)}, or {} where they do not fit.

    They fit where the dataset is the one that the run saw and every validation poster has one.
    """
    if record.tags.get("dataset.fingerprint") != dataset.fingerprint:
        return {}
    rows = dataset.indices("val", config.max_samples, config.seed)
    try:
        table = logged_predictions(record, "val").set_index("movie_id")
    except TrackingError:
        return {}
    names = dataset.index["movie_id"].iloc[rows]
    if not names.isin(table.index).all():
        return {}
    return {"val": table["logit"].loc[names].to_numpy("float64")}


@contextmanager
def evaluation_run(
    record: RunRecord, dataset: PreparedDataset, config: ExperimentConfig
) -> Iterator[RunLogger]:
    """Gives the run that takes an evaluation: the model's, or, on another dataset, one of its own.

    The run of the model keeps its state: an evaluation that fails does not make a finished training
    a failed one, and posters of another dataset do not replace its numbers.
    """
    if record.tags.get("dataset.fingerprint") == dataset.fingerprint:
        yield RunLogger(record.run_id)
        return
    tags = {
        "kind": "evaluation",
        "evaluated_run_id": record.run_id,
        "variant": record.variant,
        "dataset.fingerprint": dataset.fingerprint,
    }
    with open_run(f"{record.name} on {dataset.folder.name}", tags=tags, system_metrics=False) as logger:
        logger.log_config(config)
        yield logger
