"""The command: one line where the page cannot be had, a page on loopback where it can, nothing left of it."""

import os
import re
import signal
import socket
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from poster_ml import cli
from poster_ml.commands import app
from poster_ml.errors import ExplanationError, RegistryError, RequestError
from poster_ml.serving.reference import Neighbours
from tests.refusals import refusal


@pytest.fixture
def free_port():
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra app")
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    said = refusal(RequestError, app.run_app)
    assert said == 'Gradio is not installed, which the page needs: pip install "poster-ml[app]"'


def test_a_port_in_use_is_named(free_port):
    with socket.create_server(("127.0.0.1", free_port)):
        said = refusal(RequestError, app.run_app, port=free_port)
    wrong = f"cannot listen on 127.0.0.1:{free_port} (Address already in use)"
    assert said == f"{wrong}: give another --port or --host"


def test_a_model_that_is_not_in_the_registry_is_refused(mlflow_place, free_port):
    said = refusal(RegistryError, app.run_app, "models:/poster-vgg16@champion", port=free_port)
    assert "no model at 'models:/poster-vgg16@champion'" in said


def test_a_dataset_of_other_movies_is_refused(mlflow_place, tiny_dataset, monkeypatch):
    movies = pd.DataFrame({"movie_id": ["1"], "title": ["Another"], "year": 1999, "label": 1})
    stored = SimpleNamespace(neighbours=Neighbours.of(np.ones((1, 3)), movies))
    monkeypatch.setattr("poster_ml.serving.load.load_reference", lambda uri: stored)
    monkeypatch.setattr(app, "open_model", lambda uri, load: None)
    built = app.built_page("m", tiny_dataset)
    assert "m was trained on other posters than" in refusal(ExplanationError, built.__enter__)


@pytest.fixture
def handlers():
    """A signal that the command does not take is a KeyboardInterrupt; what signals did is put back."""
    ends = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in ends}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_server_that_is_not_there_is_said_before_the_page_opens(free_port):
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra app")
    with pytest.raises(RequestError, match=f"no answer from http://127.0.0.1:{free_port}/invocations"):
        app.run_app(endpoint=f"http://127.0.0.1:{free_port}", port=0)


@pytest.fixture
def silent_server():
    """A server that answers everything with 501, as one that knows no /ping: it is there, and that is enough."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_listens_on_loopback_says_where_and_leaves_nothing_behind(
    tmp_path, free_port, silent_server, monkeypatch, handlers, ending
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):  # put back after the test
        monkeypatch.setenv(name, "")
    seen = []

    def visit(said):
        try:
            address = re.search(r"The page is at (\S+)", said)[1]
            with urllib.request.urlopen(address, timeout=20) as answer:
                seen.append((address, b"Does the poster tell?" in answer.read()))
        finally:
            os.kill(os.getpid(), ending)

    monkeypatch.setattr(app.logger, "info", lambda said: threading.Thread(target=visit, args=(said,)).start())
    assert cli.run(["app", "--endpoint", silent_server, "--port", str(free_port)]) == 0
    assert seen == [(f"http://127.0.0.1:{free_port}/", True)]
    assert list(tmp_path.iterdir()) == []
