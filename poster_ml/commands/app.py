"""`poster-ml app`: a page for people who look, on a model in this process or a running server."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import RequestError

if TYPE_CHECKING:
    from poster_ml.app.about import About

logger = logging.getLogger(__name__)

EXAMPLES = 4
SIZE_WITHOUT_MODEL = 224  # of the picture under a map, where a server does not say its network's


def run_app(
    model_uri: str = "models:/poster-vgg16@champion",
    *,
    data: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    endpoint: str = "",
) -> None:
    """Opens the page, until Ctrl-C.

    Args:
        model_uri: as for `load_poster_model`; not used with `endpoint`.
        data: the prepared dataset of the training: alike posters are shown as pictures.
        host, port: where the page listens.
        endpoint: address of a running `mlflow models serve`.

    Raises: RequestError where Gradio is missing or the port is taken; DatasetError, RegistryError.
    """
    if importlib.util.find_spec("gradio") is None:
        raise RequestError("the page needs Gradio: install poster-ml[app]")
    _check_port(host, port)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from poster_ml.app.look import STYLE, theme
    from poster_ml.app.page import build_page
    from poster_ml.app.service import Endpoint, LocalModel, Service

    pictures = Pictures(PreparedDataset.open(data)) if data else {}
    service: Service
    with tempfile.TemporaryDirectory(prefix="poster-ml-examples-") as folder:
        examples = _draw_examples(Path(folder))
        if endpoint:
            service, about = Endpoint(endpoint), _about_endpoint(endpoint, examples, pictures)
        else:
            model = _load(model_uri)
            service, about = LocalModel(model), _about_model(model, model_uri, examples, pictures)
        page = build_page(service, about)
        logger.info("the page is at http://%s:%d (Ctrl-C ends it)", host, port)
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            theme=theme(),
            css_paths=STYLE,
            footer_links=[],
            allowed_paths=[folder],
            ssr_mode=False,
        )


class Pictures(Mapping[str, str]):
    """Posters of a prepared dataset as data URIs by movie id, made when they are looked at."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self._dataset = dataset

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self._dataset.index["movie_id"])}

    def __getitem__(self, movie_id: str) -> str:
        """Returns the poster's picture. Raises: KeyError where the dataset has none."""
        from poster_ml.app.look import data_uri

        return data_uri(self._dataset.images[self._rows[movie_id]])

    def __iter__(self) -> Iterator[str]:
        """Goes over movie ids."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Returns the number of posters."""
        return len(self._rows)


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise RequestError(f"cannot listen on {host}:{port} ({reason}): give another --port") from error


def _load(model_uri: str) -> Any:
    from poster_ml.serving.load import load_poster_model
    from poster_ml.tracking.store import connect, needs_store

    if needs_store(model_uri):
        connect()
    return load_poster_model(model_uri)


def _about_model(model: Any, model_uri: str, examples: tuple[str, ...], pictures: Mapping[str, str]) -> About:
    from poster_ml.app.about import About
    from poster_ml.serving.load import identify

    served = model.unwrap_python_model()
    known = identify(model, model_uri)
    genres = served.answers.genres()
    facts = {"Model": model_uri, "Network": served.settings.variant or "unknown"}
    facts |= {name.replace("_", " "): str(value) for name, value in known.items() if value}
    return About(
        name=model_uri.removeprefix("models:/"),
        size=served.settings.size,
        genres=tuple(sorted(genres)),
        figures=_figures(model.metadata.run_id),
        facts=facts,
        examples=examples,
        pictures=pictures,
    )


def _about_endpoint(endpoint: str, examples: tuple[str, ...], pictures: Mapping[str, str]) -> About:
    from poster_ml.app.about import About

    facts = {"Server": endpoint}
    return About(
        name=f"the server at {endpoint}",
        size=SIZE_WITHOUT_MODEL,
        facts=facts,
        examples=examples,
        pictures=pictures,
    )


def _figures(run_id: str | None) -> tuple[dict[str, str], ...]:
    """Returns what the model's run says of validation and test, as texts; nothing where the run is gone."""
    import mlflow

    try:
        metrics = mlflow.get_run(run_id).data.metrics if run_id else {}
    except mlflow.MlflowException:
        return ()

    def text(name: str) -> str:
        if name not in metrics:
            return ""
        low, high = metrics.get(f"{name}_ci_low"), metrics.get(f"{name}_ci_high")
        return f"{metrics[name]:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")

    found = {"validation posters": "val", "test posters": "test"}
    return tuple(
        {
            "split": words,
            "accuracy": text(f"{split}_accuracy"),
            "roc_auc": text(f"{split}_roc_auc"),
            "majority": text(f"{split}_majority_accuracy"),
        }
        for words, split in found.items()
        if f"{split}_roc_auc" in metrics
    )


def _draw_examples(folder: Path) -> tuple[str, ...]:
    """Draws synthetic posters to try the page with."""
    from poster_ml.synthetic.writing import write_posters

    write_posters(folder / "examples", count=20, seed=7, bayes_accuracy=0.9)
    return tuple(str(path) for path in sorted((folder / "examples" / "posters").glob("*"))[:EXAMPLES])
