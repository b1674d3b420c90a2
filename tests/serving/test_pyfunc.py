import ast
import base64
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.data.images import decode_poster
from poster_ml.errors import RegistryError, TrackingError
from poster_ml.serving.load import load_keras_model, load_poster_model, model_folder
from poster_ml.serving.log import REQUIREMENTS, log_poster_model
from poster_ml.serving.pyfunc import COLUMNS, PosterModel
from poster_ml.serving.settings import ServingSettings, read_settings

PACKAGES = {"PIL": "pillow", "concurrent_log_handler": "concurrent-log-handler", "sklearn": "scikit-learn"}


@pytest.fixture(scope="module")
def model(logged):
    return load_poster_model(logged.model_uri)


def test_probability_is_the_sigmoid_of_the_calibrated_logit(model, logged, make_picture):
    network, settings = load_keras_model(logged.model_uri)
    assert (settings.threshold, settings.temperature, settings.size) == (0.4, 2.0, 32)
    pictures = [make_picture(seed, width=50 + 7 * seed) for seed in range(5)]
    pixels = np.stack([decode_poster(data, 32).pixels for data in pictures])
    expected = 1 / (1 + np.exp(-network.predict(pixels, verbose=0)[:, 0].astype(float) / 2.0))
    result = model.predict(pd.DataFrame({"image": pictures}))
    assert list(result.columns) == list(COLUMNS)
    assert result["probability_fresh"].dtype == result["threshold"].dtype == "float64"
    np.testing.assert_allclose(result["probability_fresh"], expected, rtol=1e-5)
    assert len(set(result["probability_fresh"])) == 5
    assert list(result["label"]) == ["Fresh" if value >= 0.4 else "Rotten" for value in expected]
    assert set(result["threshold"]) == {0.4}
    assert list(result["error"]) == [None] * 5


@pytest.mark.parametrize(
    "index", [[3, 0, 2, 1], ["d", "a", "c", "a"], [(1, "x"), (0, "y"), (1, "y"), (0, "x")]]
)
def test_a_column_of_answers_lands_beside_its_own_posters(model, make_picture, index):
    """pandas aligns by the index: an answer numbered 0, 1, 2 would give posters each other's scores, or NaN."""
    pictures = [make_picture(seed) for seed in range(4)]
    alone = [model.predict(pd.DataFrame({"image": [data]}))["probability_fresh"][0] for data in pictures]
    index = pd.MultiIndex.from_tuples(index) if isinstance(index[0], tuple) else pd.Index(index)
    table = pd.DataFrame({"image": pictures, "title": list("abcd")}, index=index)
    for params in ({}, {"explain": True}):
        answer = model.predict(table[["image"]], params=params)
        assert answer.index.equals(index)
        np.testing.assert_allclose(answer["probability_fresh"].astype(float), alone, rtol=1e-6)
    assert list(model.predict({"image": pictures}).index) == [0, 1, 2, 3]


def test_one_bad_image_fails_only_its_own_row(model, make_picture):
    good = make_picture()
    bad = [None, "", 5, b"\x80\x04K\x01.", good[:40], b"x" * 10_000_001]
    assert list(model.predict(pd.DataFrame({"image": ["x!", None]}))["label"]) == [None, None]
    cells = [good, *bad, good]
    result = model.predict(pd.DataFrame({"image": pd.Series(cells, dtype=object)}))
    assert list(result["error"].isna()) == [True] + [False] * len(bad) + [True]
    assert list(result["probability_fresh"].isna()) == [False] + [True] * len(bad) + [False]
    assert all(value is None for value in result["label"][1:-1])
    assert result["probability_fresh"][0] == pytest.approx(result["probability_fresh"].iloc[-1])


def test_long_requests_run_in_batches_with_the_same_numbers(logged, make_picture, monkeypatch):
    model = load_poster_model(logged.model_uri).unwrap_python_model()
    sizes = []
    forward = model.network.predict_on_batch
    monkeypatch.setattr(model.network, "predict_on_batch", lambda x: sizes.append(len(x)) or forward(x))
    pictures = [make_picture(seed % 7) for seed in range(150)]
    together = model.predict(None, pd.DataFrame({"image": pictures}))
    assert sizes == [64, 64, 22]
    alone = [
        model.predict(None, pd.DataFrame({"image": [data]}))["probability_fresh"][0] for data in pictures[:7]
    ]
    np.testing.assert_allclose(together["probability_fresh"][:7].astype(float), alone, rtol=1e-6)


def test_the_map_is_a_picture_of_the_input_size(model, make_picture):
    result = model.predict(
        pd.DataFrame({"image": [make_picture(), "no", make_picture(1)]}), params={"explain": True}
    )
    assert list(result.columns)[-1] == "cam_png"
    assert result["cam_png"][1] is None
    pictures = [Image.open(io.BytesIO(base64.b64decode(result["cam_png"][row]))) for row in (0, 2)]
    assert [(item.format, item.size, item.mode) for item in pictures] == [("PNG", (32, 32), "RGB")] * 2
    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_a_layer_that_is_not_there_is_the_requests_fault_in_words(make_network, make_picture):
    model = PosterModel()
    model.prepare(make_network(), ServingSettings(size=32, explain_layer="conv9"))
    with pytest.raises(mlflow.MlflowException, match="conv9") as caught:
        model.predict(None, pd.DataFrame({"image": [make_picture()]}), {"explain": True})
    assert caught.value.get_http_status_code() == 400


def test_the_optimizer_stays_behind(mlflow_store, make_network):
    import keras

    network = make_network()
    network.compile(optimizer="adam", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    network.fit(np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 1)), verbose=0)
    with mlflow.start_run():
        info = log_poster_model(network, size=32)
    path = model_folder(info.model_uri) / "artifacts" / "network.keras"
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        assert not any(key.startswith("optimizer") for key in weights)
    loaded, _ = load_keras_model(info.model_uri)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        loaded.predict(pixels, verbose=0), network.predict(pixels, verbose=0), rtol=1e-5
    )
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in network.layers]


def test_logging_is_refused_where_it_cannot_work(mlflow_store, make_network):
    with pytest.raises(TrackingError, match="no run is active"):
        log_poster_model(make_network(), size=32)
    with mlflow.start_run():
        with pytest.raises(ValueError, match=r"not \(None, 64, 64, 3\)"):
            log_poster_model(make_network(), size=64)
        for name, value in (("threshold", 1.0), ("temperature", float("nan")), ("fit", "stretch")):
            with pytest.raises(ValueError, match=f"got {name}="):
                log_poster_model(make_network(), size=32, **{name: value})


def test_settings_survive_and_broken_ones_are_refused(tmp_path):
    settings = ServingSettings(size=96, fit="pad", threshold=0.3, temperature=1.5, variant="vgg16")
    path = tmp_path / "settings.json"
    settings.write(path)
    assert read_settings(path) == settings
    for content in ("{", "[]", '{"size": 32, "later": 1}', '{"size": 2}'):
        path.write_text(content)
        with pytest.raises(
            RegistryError, match=r"^settings\.json of the model cannot be read .*: log the model again$"
        ):
            read_settings(path)


def test_the_requirements_cover_what_the_served_code_imports(project):
    """Followed statically from the entry and from the packages whose layers a network may hold."""
    package = project / "poster_ml"
    left = [package / "serving" / "entry.py", *package.glob("augment/*.py"), *package.glob("models/*.py")]
    seen, outside = set(), set()
    while left:
        path = left.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                if name.startswith("poster_ml"):
                    left.append(project / (name.replace(".", "/") + ".py"))
                else:
                    outside.add(name.split(".")[0])
    assert len(seen) > 20
    optional = {"jax", "torch"}  # other backends; h5py comes with keras
    needed = {PACKAGES.get(name, name) for name in outside - optional - {"h5py"} - sys.stdlib_module_names}
    assert needed == set(REQUIREMENTS)


def test_the_model_loads_where_the_package_is_not_installed(logged, make_picture, tmp_path):
    """The code travels: `-S` leaves out the editable install, and third-party packages are added by hand."""
    picture = tmp_path / "poster.jpg"
    picture.write_bytes(make_picture())
    packages = Path(mlflow.__file__).parent.parent
    script = f"""
import sys
sys.path.append({str(packages)!r})
try:
    import poster_ml.errors
except ImportError:
    sys.modules.pop("poster_ml", None)  # an editable install leaves a folder of that name
else:
    raise SystemExit("poster_ml is installed here: the test proves nothing")
import mlflow, pandas
model = mlflow.pyfunc.load_model({str(model_folder(logged.model_uri))!r})
data = open({str(picture)!r}, "rb").read()
result = model.predict(pandas.DataFrame({{"image": [data]}}), params={{"explain": True}})
import poster_ml
print("RESULT", poster_ml.__file__, result["probability_fresh"][0], bool(result["cam_png"][0]))
"""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, "-I", "-S", "-c", script]
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "env": clean, "timeout": 300}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT")).split()
    assert str(model_folder(logged.model_uri)) in line[1]
    here = load_poster_model(logged.model_uri).predict(pd.DataFrame({"image": [make_picture()]}))
    here = here["probability_fresh"][0]
    assert float(line[2]) == pytest.approx(here, rel=1e-6)
    assert line[3] == "True"
