"""`poster-ml app`: a page for people who look, on a model in this process or a running server."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import RequestError
from poster_ml.pipeline.poster_files import open_model
from poster_ml.quiet import load_keras

logger = logging.getLogger(__name__)

EXAMPLES = 4  # of the posters that are drawn at the start


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

    Raises: RequestError where Gradio is missing, the port is taken or no server answers; DatasetError,
        RegistryError; ExplanationError where `data` is another dataset than that of the training.
    """
    if importlib.util.find_spec("gradio") is None:
        raise RequestError('Gradio is not installed, which the page needs: pip install "poster-ml[app]"')
    _check_port(host, port)
    if endpoint:
        from poster_ml.serving.client import Endpoint

        Endpoint(endpoint).check()
    with built_page(model_uri, data, endpoint) as (page, folder):
        from poster_ml.app.page import serve_page

        address = serve_page(page, host, port, folder)
        ended = threading.Event()
        # An event, since KeyboardInterrupt is lost where it strikes in a callback of another library.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        logger.info(f"The page is at {address} (Ctrl-C ends it)")
        ended.wait()
        page.close(verbose=False)


@contextmanager
def built_page(model_uri: str, data: Path | None = None, endpoint: str = "") -> Iterator[tuple[Any, Path]]:
    """Gives the page and the folder of its files, which is removed at the end; see `run_app`."""
    with tempfile.TemporaryDirectory(prefix="poster-ml-app-") as name:
        folder = Path(name)
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from poster_ml.app.pictures import Pictures

        dataset = PreparedDataset.open(data) if data else None
        pictures = Pictures(dataset) if dataset else {}
        service: Any
        if endpoint:
            from poster_ml.app.about import About
            from poster_ml.serving.client import Endpoint

            service = Endpoint(endpoint)
            about = About(f"the server at {endpoint}", facts={"Server": endpoint}, pictures=pictures)
        else:
            load_keras()
            from poster_ml.app.about import describe_model
            from poster_ml.pipeline.neighbours import check_trained_on
            from poster_ml.serving.client import LocalModel
            from poster_ml.serving.load import load_poster_model, load_reference

            model = open_model(model_uri, load_poster_model)
            reference = load_reference(model_uri) if dataset else None
            if dataset and reference and reference.neighbours:
                check_trained_on(reference.neighbours, dataset, model_uri)
            service, about = LocalModel(model), describe_model(model, model_uri, pictures)
        from poster_ml.app.page import build_page

        yield build_page(service, about, _draw_examples(folder), folder), folder


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise RequestError(
                f"cannot listen on {host}:{port} ({reason}): give another --port or --host"
            ) from error


def _draw_examples(folder: Path) -> list[Path]:
    """Draws synthetic posters to try the page with."""
    from poster_ml.synthetic.writing import write_posters

    write_posters(folder / "examples", count=20, seed=7, bayes_accuracy=1.0)
    return sorted((folder / "examples" / "posters").iterdir())[:EXAMPLES]
