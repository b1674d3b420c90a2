"""Shared by all tests: where the real posters are, and a quiet, small, seeded world."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Little is computed: where cores are busy, two threads wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# A run in the background ignores Ctrl-C, and so would the processes that tests start and interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` deals out whole files, these first: a long one that begins last is waited for.
LONGEST = [
    "commands/test_tune", "tuning/test_search", "commands/test_train", "commands/test_folds",
    "training/test_backends", "training/test_devices", "serving/test_server", "app/test_page",
    "commands/test_ensemble", "contracts/test_models", "training/test_fit",
    "contracts/test_commands_in_docs", "contracts/test_paths", "pipeline/test_fit", "test_cluster",
    "commands/test_suite", "commands/test_many_files", "training/test_kills", "contracts/test_examples",
]  # fmt: skip


def pytest_collection_modifyitems(items):
    """Puts the tests of the longest files first."""
    ranks = {f"tests/{name}.py": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are cores: tests often wait for processes that they start."""
    return (os.cpu_count() or 1) + 1


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
def made_once(request, tmp_path_factory):
    """`made_once(name, make)`: a folder that `make` fills once for all processes; read only."""

    def once(name, make):
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if hasattr(request.config, "workerinput") else base) / name
        with FileLock(f"{folder}.lock"):
            if not (folder / "made").exists():
                folder.mkdir()
                make(folder)
                (folder / "made").touch()
        return folder

    return once


@pytest.fixture(scope="session")
def store_template(made_once):
    """A database that went through all of MLflow's migrations, to be copied: they take seconds."""

    def migrate(folder):
        import mlflow

        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return made_once("template", migrate) / "mlflow.db"


@contextmanager
def _store_in(folder: Path, template: Path) -> Iterator[Path]:
    import mlflow

    before, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    shutil.copy(template, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # While it logs a model, MLflow loads it to try its example; tests load those that they ask.
        patch.setattr("mlflow.models.utils._validate_serving_input", lambda **_: None)
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


def _prepare_tiny(folder: Path) -> None:
    from poster_ml.data.image_files import match_images
    from poster_ml.data.prepared import prepare
    from poster_ml.data.tables import read_table
    from poster_ml.synthetic.writing import write_posters

    write_posters(folder / "synthetic", count=160, seed=1, bayes_accuracy=1.0)
    table = read_table(folder / "synthetic" / "movies.csv")
    movies, rejected = match_images(table.movies, folder / "synthetic" / "posters")
    options = {"size": 40, "fit": "squash", "split": "stratified", "seed": 1, "workers": 1}
    prepare(movies, rejected, folder / "prepared", **options)


@pytest.fixture(scope="session")
def tiny_dataset(made_once):
    """A prepared dataset of 160 synthetic posters at 40x40 pixels; read only."""
    return made_once("tiny", _prepare_tiny) / "prepared"
