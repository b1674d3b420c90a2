"""The served model: image files in, probabilities out, with everything in between inside.

Decoding runs in threads, the network once per batch of a request. One image that cannot be scored
fails only its own row. `poster-ml predict`, `mlflow models serve` and batch engines all go through
this class. What a row gets beside the poster's own probability is in `answers`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from scipy.special import expit

from poster_ml.data.images import decode_poster
from poster_ml.errors import PosterMLError, RequestError
from poster_ml.serving.answers import Answers
from poster_ml.serving.batching import SharedForward
from poster_ml.serving.options import RequestOptions
from poster_ml.serving.prediction_log import PredictionLog, input_facts, log_entry
from poster_ml.serving.quantize import QuantizedNetwork
from poster_ml.serving.reference import Reference
from poster_ml.serving.requests import MAX_PIXELS, fact_cells, image_bytes, image_column
from poster_ml.serving.settings import COLUMNS, COMPACT_FILE, ServingSettings, read_settings

BATCH_SIZE = 64  # posters per forward pass: bounds the memory of a request of any length


class PosterModel(PythonModel):
    """Scores posters.

    Input: a column `image` with base64 text, a data URI or raw bytes per row; optional columns
    `year` and `genres` (`|` between them); others are ignored.
    Output per row: of the poster alone `probability_fresh` in [0, 1], `label` "Fresh" or "Rotten",
    `threshold`, `error` (None, or why this image could not be scored: then probability and label
    are None); with year or genres `probability_metadata` (of them alone), `probability_combined`
    (with the poster), `poster_effect` (combined less metadata) and `note` (what of them was ignored
    and why), else None. Params add columns, see `RequestOptions` and `Answers`: `{"explain": True}`
    for example `cam_png`, base64 of a PNG with the class activation map over the poster.
    The answer has the index of the table asked about: pandas puts
    `model.predict(table)["probability_fresh"]` beside the right posters, in a filtered or shuffled
    table too.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the network and the settings, and runs the network once so that no request pays for it."""
        from mlflow.models import Model

        from poster_ml.serving.load import read_network

        paths = {name: Path(path) for name, path in context.artifacts.items()}
        file = paths["network"]
        network = QuantizedNetwork(file.read_bytes()) if file.name == COMPACT_FILE else read_network(file)
        # <model>/artifacts/network.keras: the model's own description lies beside the artifacts.
        model_id = Model.load(str(file.parent.parent)).model_id or ""
        reference = Reference.load(paths["reference"]) if "reference" in paths else None
        self.prepare(network, read_settings(paths["settings"]), model_id, reference)

    def prepare(
        self, network: Any, settings: ServingSettings, model_id: str = "", reference: Reference | None = None
    ) -> None:
        """Takes a network (uint8 (B, S, S, 3) to logit (B, 1)) that is in memory already, and warms it up."""
        self.log = PredictionLog.from_environment(model_id)
        self.network = network
        self.settings = settings
        self.answers = Answers(self, reference)
        self.decoders = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")
        # The network uses all cores by itself: passes side by side would only share them, and add memory.
        self.forward = SharedForward(
            lambda pixels: np.asarray(network.predict_on_batch(pixels), np.float64).reshape(-1), BATCH_SIZE
        )
        # Two sizes, so that TensorFlow traces once more with a free batch size and never again.
        for count in (1, 2):
            self.logits(np.zeros((count, settings.size, settings.size, 3), dtype=np.uint8))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Scores one request; see the class for input and output.

        Raises: MlflowException with INVALID_PARAMETER_VALUE (HTTP 400) where the request as a whole makes no
            sense (no column `image`, no rows, params out of range), or asks what this model cannot answer.
        """
        rows: list[dict[str, Any]] = []
        try:
            cells = image_column(model_input)
            options = RequestOptions.read(params, len(cells))
            self.answers.check(options)
            for start in range(0, len(cells), BATCH_SIZE):
                rows.extend(self._score(cells.iloc[start : start + BATCH_SIZE], options))
            self.answers.add(rows, fact_cells(model_input, len(rows)), list(cells.index), options)
        except PosterMLError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error
        return _table(rows, [*COLUMNS, *self.answers.columns(options)], cells.index)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Runs the network once, with what other threads ask for: (B, S, S, 3) uint8 to (B,) float64."""
        return self.forward(pixels)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the calibrated probability of Fresh (B,) of posters (B, S, S, 3) uint8."""
        return np.asarray(expit(self.logits(pixels) / self.settings.temperature))

    def _score(self, cells: Iterable[Any], options: RequestOptions) -> list[dict[str, Any]]:
        """Returns the rows of one batch."""
        decoded = list(self.decoders.map(self._decode, cells))
        unknown = dict.fromkeys(["probability_fresh", "label"])
        rows = [{**unknown, "threshold": self.settings.threshold, "error": error} for _, error, _ in decoded]
        scored = [row for row in rows if row["error"] is None]
        if scored:
            pixels = np.stack([picture for picture, _, _ in decoded if picture is not None])  # (B, S, S, 3)
            for row, probability in zip(scored, self.probabilities(pixels), strict=True):
                if np.isfinite(probability):
                    label = "Fresh" if probability >= self.settings.threshold else "Rotten"
                    row |= {"probability_fresh": float(probability), "label": label}
                else:
                    row["error"] = "the network returned no number for this image"
            for row, found in zip(scored, self.answers.of_pixels(pixels, options), strict=True):
                row.update(found)
        if self.log is not None:
            self.log.write([log_entry(item[2], row) for item, row in zip(decoded, rows, strict=True)])
        return rows

    def _decode(self, cell: Any) -> tuple[np.ndarray | None, str | None, dict[str, Any]]:
        """Returns the pixels (S, S, 3) uint8, or why there are none, and what the log says of them."""
        try:
            data = image_bytes(cell)
            poster = decode_poster(data, self.settings.size, self.settings.fit, max_pixels=MAX_PIXELS)
        except RequestError as error:
            return None, str(error), {}
        except Exception as error:  # one broken file must not fail its neighbours
            reason = f"the image cannot be decoded ({type(error).__name__}): send a JPEG, PNG or WebP file"
            return None, reason, {}
        pixels = np.asarray(poster.pixels, dtype=np.uint8)
        return pixels, None, input_facts(data, poster.width, poster.height, pixels) if self.log else {}


def _table(rows: list[dict[str, Any]], columns: list[str], index: pd.Index) -> pd.DataFrame:
    """Returns the answer, None in the cells that a row lacks.

    Columns of objects: None stays None, and becomes null in JSON where NaN would be no JSON at all.
    """
    cells = {name: [row.get(name) for row in rows] for name in columns}
    numbers = [name for name in ("probability_fresh", "threshold") if None not in cells[name]]
    return pd.DataFrame(
        {
            name: pd.Series(values, index=index, dtype="float64" if name in numbers else object)
            for name, values in cells.items()
        }
    )
