"""The notebooks under examples/ run from top to bottom in an empty folder."""

import os
import sys
from pathlib import Path

import pytest


def test_the_notebook_trains_evaluates_and_scores(project, tmp_path, monkeypatch):
    missing = "the notebook's programs are not installed: pip install 'poster-ml[dev]'"
    pytest.importorskip("ipykernel", reason=missing)
    nbclient = pytest.importorskip("nbclient", reason=missing)
    nbformat = pytest.importorskip("nbformat", reason=missing)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(project))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)

    notebook = nbformat.read(project / "examples" / "python.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=500, resources=place).execute()

    printed = "\n".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "basic_cnn (full): run " in printed
    assert "test_roc_auc 0." in printed or "test_roc_auc 1." in printed
    assert "160 posters" in printed
    assert "probability_fresh" in str(notebook.cells[-1].outputs[-1].data["text/plain"])
    assert (tmp_path / "mlflow.db").is_file()
