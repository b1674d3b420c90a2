"""A small model that was really trained, its page, and a browser that must stay silent and at home."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def trained(shared_mlflow_place, tiny_dataset, undrawn):
    """The registered model's URI: trained for two epochs on the tiny dataset."""
    from poster_ml.commands.train import train_task
    from poster_ml.data.prepared import PreparedDataset
    from poster_ml.pipeline.task import Task
    from poster_ml.serving.registry import register_run
    from poster_ml.tracking.store import connect
    from tests.tiny import tiny_config

    connect(write=True)
    task = Task(tiny_config(), PreparedDataset.open(tiny_dataset), "full")
    version = register_run(train_task(task).run_id)
    return f"models:/{version.name}/{version.number}"


@pytest.fixture(scope="session")
def serve():
    """Serves a page on a free port and returns its address."""

    def serve_on_free_port(page: Any, folder: Path) -> str:
        from poster_ml.app.page import serve_page

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return serve_page(page, "127.0.0.1", port, folder)

    return serve_on_free_port


@pytest.fixture(scope="module")
def served(trained, tiny_dataset, serve):
    """The page: its `address`, the `folder` of its files and the `service` behind it."""
    pytest.importorskip("gradio", reason="the page needs Gradio: the extra app")
    from poster_ml.commands.app import built_page
    from poster_ml.pipeline.poster_files import open_model
    from poster_ml.serving.client import LocalModel
    from poster_ml.serving.load import load_poster_model

    with built_page(trained, tiny_dataset) as (page, folder):
        address = serve(page, folder)
        service = LocalModel(open_model(trained, load_poster_model))
        yield SimpleNamespace(address=address, folder=folder, service=service)
        page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright to drive a browser")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: Debian's package chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, served):
    """Opens the page as a visitor of its own; no error in the console, no request elsewhere."""
    faults: list[str] = []
    visitors = []

    def open_page(width: int = 1280, scheme: str = "light", address: str = served.address) -> Any:
        visitor = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        visitors.append(visitor)
        page = visitor.new_page()
        page.set_default_timeout(120_000)  # a busy machine is not a failure
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.extend(_abroad(request.url, address)))
        page.goto(address)
        page.get_by_text("Or try one of these").wait_for()
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert faults == []


def _abroad(url: str, home: str) -> list[str]:
    return [] if url.startswith((home, "data:", "blob:")) else [f"request to {url}"]
