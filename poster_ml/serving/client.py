"""A served model as the page asks it: in this process, or a running `mlflow models serve`.

Both are asked the same and answer the same: rows with the columns of `PosterModel`.
"""

from __future__ import annotations

import base64
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pandas as pd

from poster_ml.data.images import decode_poster
from poster_ml.errors import PosterMLError, RequestError
from poster_ml.serving.quantize import QuantizedNetwork
from poster_ml.serving.requests import MAX_PIXELS

if TYPE_CHECKING:
    from poster_ml.serving.pyfunc import PosterModel

TIMEOUT = 120.0  # seconds for one answer of a server; a map of sixteen posters takes some on a small machine
PING_TIMEOUT = 10.0  # seconds for a sign of life

Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """Posters and what is asked about them.

    images: contents of image files. year, genres: of the movie they are for; "" and () where unknown.
    params: of the request, see `RequestOptions`.
    """

    images: Sequence[bytes]
    year: str = ""
    genres: Sequence[str] = ()
    params: dict[str, Any] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Returns the request: one row per poster, images as base64 text."""
        texts = [base64.b64encode(image).decode("ascii") for image in self.images]
        table = pd.DataFrame({"image": texts})
        if self.year.strip():
            table["year"] = self.year.strip()
        if self.genres:
            table["genres"] = "|".join(self.genres)
        return table


class Service(ABC):
    """Answers questions.

    layers: names of the convolutions that can be looked into, from input to output; none of a
    server, an ensemble or a quantized network.
    """

    layers: Sequence[str] = ()

    def layer(self, image: bytes, name: str) -> bytes:
        """Returns what a layer's channels answer to a poster, as a PNG file. Raises: RequestError."""
        raise RequestError("a server does not show its layers: give --model-uri in place of --endpoint")

    @abstractmethod
    def ask(self, question: Question) -> list[Row]:
        """Returns one row per poster. Raises: RequestError with one kind line for the page."""


class LocalModel(Service):
    """A model in this process.

    Args:
        model: an mlflow PyFuncModel around `PosterModel`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    @cached_property
    def _served(self) -> PosterModel:
        return self._model.unwrap_python_model()

    @cached_property
    def layers(self) -> Sequence[str]:  # type: ignore[override]
        """Names of the convolutions; see `Service`."""
        network = self._served.network
        if isinstance(network, QuantizedNetwork):
            return []
        from poster_ml.explain.activations import convolution_names

        return convolution_names(network)

    def layer(self, image: bytes, name: str) -> bytes:
        """Returns what a layer answers; see `Service`."""
        from poster_ml.explain.activations import write_activation_grids

        settings = self._served.settings
        pixels = decode_poster(image, settings.size, settings.fit, max_pixels=MAX_PIXELS).pixels
        with tempfile.TemporaryDirectory() as folder, self._served.forward.lock:
            written = write_activation_grids(self._served.network, pixels, Path(folder), [name])
            return written[0].read_bytes()

    def ask(self, question: Question) -> list[Row]:
        """Returns one row per poster; see `Service`."""
        from mlflow.exceptions import MlflowException

        try:
            answer = self._model.predict(question.table(), params=question.params)
        except MlflowException as error:
            raise RequestError(error.message) from error
        return [dict(row) for row in answer.to_dict("records")]


class Endpoint(Service):
    """A running `mlflow models serve`.

    Args:
        url: its address, with or without `/invocations`.
    """

    def __init__(self, url: str) -> None:
        base = url.rstrip("/").removesuffix("/invocations")
        if not base.startswith(("http://", "https://")):
            raise RequestError(
                f"--endpoint must be an address such as http://127.0.0.1:5001, received {url!r}"
            )
        self._url = f"{base}/invocations"
        self._ping = f"{base}/ping"

    def check(self) -> None:
        """Raises RequestError where nothing answers at the address, whatever it answers."""
        try:
            httpx.get(self._ping, timeout=PING_TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._silent() from error

    def ask(self, question: Question) -> list[Row]:
        """Returns one row per poster; see `Service`."""
        content = {"dataframe_split": question.table().to_dict("split"), "params": question.params}
        try:
            answer = httpx.post(self._url, json=content, timeout=TIMEOUT)
            if answer.is_success:
                return list(answer.json()["predictions"])
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise self._silent() from error
        try:
            said = " ".join(str(answer.json()["message"]).split())
        except (ValueError, KeyError, TypeError):
            said = f"the server answered {answer.status_code}: look at its log"
        raise RequestError(said)

    def _silent(self) -> RequestError:
        return RequestError(
            f"no answer from {self._url}: start it with `mlflow models serve`, or name another --endpoint"
        )


def ask_kindly(service: Service, question: Question, *simpler: dict[str, Any]) -> tuple[list[Row], str]:
    """Returns the rows and "", or no rows and one sentence for the page: it lives on, whatever happens.

    Args:
        simpler: params to ask in place of the question's, one after the other, where it is refused:
            a model may draw no maps, or know no other posters.
    """
    said = ""
    for params in (question.params, *simpler):
        try:
            return service.ask(replace(question, params=params)), ""
        except PosterMLError as error:
            said = said or str(error)
    return [], said
