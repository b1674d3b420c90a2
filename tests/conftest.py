"""Shared by all tests: where the real posters are, and a quiet, small, seeded world."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

PROJECT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("POSTER_ML_SHARED", PROJECT.parent / "shared"))


@pytest.fixture(scope="session")
def project() -> Path:
    """The project folder."""
    return PROJECT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real posters; the test skips where it is missing."""
    folder = SHARED / "data"
    if not (folder / "movies.csv").is_file():
        pytest.skip(f"no real posters at {folder}; set POSTER_ML_SHARED to their parent folder")
    return folder


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder with real ImageNet weights; the test skips where it is missing."""
    folder = SHARED / "weights"
    if not any(folder.glob("*.h5")):
        pytest.skip(f"no ImageNet weights at {folder}; set POSTER_ML_SHARED to their parent folder")
    return folder
