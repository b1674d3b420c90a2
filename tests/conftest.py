"""Shared by all tests: where the real posters are, and a quiet, small, seeded world."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # small matrices: where cores are busy, two wait for each other

# A run in the background ignores Ctrl-C, and so would the processes that tests start and interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("POSTER_ML_SHARED", PROJECT.parent / "shared"))


@pytest.fixture(scope="session")
def project():
    """The project folder."""
    return PROJECT


def _shared(name: str, files: str) -> Path:
    folder = SHARED / name
    if not any(folder.glob(files)):
        pytest.skip(f"no {files} in {folder}; set POSTER_ML_SHARED to its parent folder")
    return folder


@pytest.fixture(scope="session")
def real_data():
    """The folder with real posters; the test skips where it is missing."""
    return _shared("data", "movies.csv")


@pytest.fixture(scope="session")
def real_weights():
    """The folder with real ImageNet weights; the test skips where it is missing."""
    return _shared("weights", "*.h5")


@pytest.fixture(scope="session")
def store_template(tmp_path_factory):
    """A database that went through all of MLflow's migrations, to be copied: they take seconds."""
    import mlflow

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@contextmanager
def _store_in(folder: Path, template: Path) -> Iterator[Path]:
    import mlflow

    before, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    shutil.copy(template, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
            patch.setenv(name, "")  # so that what a test leaves is taken back
            patch.delenv(name)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        mlflow.set_registry_uri(f"sqlite:///{folder / 'mlflow.db'}")
        yield folder
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(registry)


@pytest.fixture
def mlflow_place(tmp_path, store_template):
    """An empty folder to work in, with the default store of a project folder; the one before comes back."""
    with _store_in(tmp_path, store_template) as place:
        yield place


@pytest.fixture(scope="module")
def shared_mlflow_place(tmp_path_factory, store_template):
    """As `mlflow_place`, one for all tests of a module: for runs that they share."""
    with _store_in(tmp_path_factory.mktemp("place"), store_template) as place:
        yield place


def _begin_experiment(folder: Path) -> None:
    import mlflow

    mlflow.create_experiment("poster-ml", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("poster-ml")


@pytest.fixture
def mlflow_store(mlflow_place):
    """As `mlflow_place`, with the experiment `poster-ml` made and active: for tests that log runs themselves."""
    _begin_experiment(mlflow_place)
    return mlflow_place


@pytest.fixture(scope="module")
def shared_mlflow_store(shared_mlflow_place):
    """As `mlflow_store`, one for all tests of a module."""
    _begin_experiment(shared_mlflow_place)
    return shared_mlflow_place


@pytest.fixture(scope="module")
def undrawn():
    """Figures are saved without being drawn, which takes a third of a small training; for runs whose files count."""
    empty = Image.new("RGB", (8, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **_: empty.save(file, "PNG"))
        yield


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory):
    """A prepared dataset of 160 synthetic posters at 40x40 pixels; read only."""
    from poster_ml.data.image_files import match_images
    from poster_ml.data.prepared import prepare
    from poster_ml.data.tables import read_table
    from poster_ml.synthetic.writing import write_posters

    folder = tmp_path_factory.mktemp("tiny")
    write_posters(folder / "synthetic", count=160, seed=1, bayes_accuracy=1.0)
    table = read_table(folder / "synthetic" / "movies.csv")
    movies, rejected = match_images(table.movies, folder / "synthetic" / "posters")
    options = {"size": 40, "fit": "squash", "split": "stratified", "seed": 1, "workers": 1}
    prepare(movies, rejected, folder / "prepared", **options)
    return folder / "prepared"
