"""The command: one line where the page cannot be had, a page on loopback where it can, nothing left of it."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from poster_ml.commands import app
from poster_ml.errors import ExplanationError, RegistryError, RequestError
from poster_ml.serving.reference import Neighbours
from tests.refusals import refusal


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    said = refusal(RequestError, app.run_app)
    assert said == 'Gradio is not installed, which the page needs: pip install "poster-ml[app]"'


def test_a_port_in_use_is_named():
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra app")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refusal(RequestError, app.run_app, port=port)
    assert (
        said == f"cannot listen on 127.0.0.1:{port} (Address already in use): give another --port or --host"
    )


def test_a_model_that_is_not_in_the_registry_is_refused(mlflow_place, free_port):
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra app")
    said = refusal(RegistryError, app.run_app, "models:/poster-vgg16@champion", port=free_port)
    assert "no model at 'models:/poster-vgg16@champion'" in said


def test_a_dataset_of_other_movies_is_refused(mlflow_place, tiny_dataset, monkeypatch):
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra app")
    movies = pd.DataFrame({"movie_id": ["1"], "title": ["Another"], "year": 1999, "label": 1})
    stored = SimpleNamespace(neighbours=Neighbours.of(np.ones((1, 3)), movies))
    monkeypatch.setattr("poster_ml.serving.load.load_reference", lambda uri: stored)
    monkeypatch.setattr(app, "open_model", lambda uri, load: None)
    with (
        pytest.raises(ExplanationError, match="m was trained on other posters than"),
        app.built_page("m", tiny_dataset),
    ):
        pass


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_listens_on_loopback_says_where_and_leaves_nothing_behind(tmp_path, free_port, ending):
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra app")
    command = [
        sys.executable,
        "-m",
        "poster_ml",
        "app",
        "--endpoint",
        "http://127.0.0.1:9",
        "--port",
        str(free_port),
    ]
    environment = {
        "PATH": "/usr/bin:/bin",
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(Path.cwd()),
        "HOME": str(tmp_path),
    }
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        said = next(line for line in lines if "The page is at" in line)
        address = re.search(r"http://\S+", said)[0]
        assert address == f"http://127.0.0.1:{free_port}/"
        assert b"Does the poster tell?" in urllib.request.urlopen(address, timeout=20).read()
    finally:
        process.send_signal(ending)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert [path.name for path in tmp_path.glob("poster-ml-app-*")] == []
