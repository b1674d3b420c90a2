"""What drift is measured on: the posters of a period, those of training, and what a model says of others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import DatasetError
from poster_ml.pipeline.poster_files import open_model
from poster_ml.progress import progress
from poster_ml.seeding import generator
from poster_ml.serving.prediction_log import STATISTICS, input_statistics

INPUTS = (*STATISTICS, "width", "height", "aspect", "file_bytes")
MOST_MEASURED = 5000  # training posters that the period is compared with
MOST_SCORED = 1000  # validation posters that the model scores
_BATCH = 64


def last_scored(entries: pd.DataFrame) -> pd.DataFrame:
    """One row per poster that was scored, the newest; with `aspect`, width / height."""
    scored = entries[entries["error"].isna()].drop_duplicates("poster", keep="last")
    return scored.assign(aspect=scored["width"] / scored["height"])


def training_inputs(dataset: PreparedDataset, seed: int) -> dict[str, np.ndarray]:
    """The features of training posters, measured as the service measures them: name to (n,)."""
    rows = _drawn(dataset.indices("train"), MOST_MEASURED, seed)
    measured = [
        input_statistics(np.array(dataset.images[row])) for row in progress(rows, "measuring posters")
    ]
    index = dataset.index.iloc[rows]
    index = index.assign(aspect=index["width"] / index["height"])
    features = {name: np.array([item[name] for item in measured]) for name in STATISTICS}
    return features | {name: index[name].to_numpy(np.float64) for name in INPUTS if name in index}


def validation_probabilities(dataset: PreparedDataset, model_uri: str, seed: int) -> tuple[np.ndarray, str]:
    """What a model says of validation posters, (n,) in [0, 1], and the id that it has in the log."""
    from scipy.special import expit

    from poster_ml.serving.load import identify, load_poster_model

    loaded = open_model(model_uri, load_poster_model)
    model = loaded.unwrap_python_model()
    fit = str(dataset.manifest.get("options", {}).get("fit", model.settings.fit))
    if (dataset.size, fit) != (model.settings.size, model.settings.fit):
        raise DatasetError(
            f"{dataset.folder} was prepared with size {dataset.size} and fit {fit}, the model takes "
            f"{model.settings.size} and {model.settings.fit}: name the dataset that it was trained on"
        )
    rows = _drawn(dataset.indices("val"), MOST_SCORED, seed)
    batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    logits = [model.logits(np.array(dataset.images[batch])) for batch in progress(batches, "scoring")]
    return expit(np.concatenate(logits) / model.settings.temperature), identify(loaded, model_uri)["model_id"]


def _drawn(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    return np.sort(generator(seed, "drift", "rows").choice(rows, most, replace=False))
