"""Commands of many files on a cluster: what they do without one, and a file that kills is one row."""

import os
from pathlib import Path

import keras
import mlflow
import pandas as pd
import pytest

from poster_ml import cli
from poster_ml.cluster import open_cluster
from poster_ml.commands.explain import run_explain
from poster_ml.commands.predict import run_predict
from poster_ml.commands.preprocess import run_preprocess
from poster_ml.data.decoding import prepare_posters
from poster_ml.errors import ClusterError, DatasetError, UnknownLayerError
from poster_ml.pipeline.poster_files import ScoreTask, score_files
from poster_ml.pipeline.prediction_files import COLUMNS
from poster_ml.serving.log import log_poster_model
from tests.pictures import poster


@pytest.fixture(scope="module")
def address(shared_mlflow_store):
    """A scheduler with one worker: each takes seconds to import Keras, and `test_cluster` looks at the order."""
    with open_cluster(1) as client:
        yield str(client.scheduler.address)


@pytest.fixture(scope="module")
def model(shared_mlflow_store):
    """A network of one convolution, logged: mlflow's ModelInfo."""
    image = keras.Input((32, 32, 3), dtype="uint8")
    tensor = keras.layers.Conv2D(2, 3, name="conv")(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(tensor)))
    with mlflow.start_run():
        return log_poster_model(network, size=32, threshold=0.4, variant="basic_cnn", family="cnn")


@pytest.fixture
def posters(tmp_path, monkeypatch):
    """40 posters in a folder that is named relative to the command's, where no worker is."""
    monkeypatch.chdir(tmp_path)
    Path("posters").mkdir()
    for number in range(40):
        poster(number).save(f"posters/tt{number:02d}.jpg")
    return Path("posters")


def test_preprocess_makes_the_same_dataset(posters, address):
    (posters / "tt07.jpg").write_bytes(b"no picture")
    rows = [f"tt{n:02d},Film {n},2001,Drama,{40 + n},{('Rotten', 'Fresh')[n % 2]}" for n in range(40)]
    header = "movie_id,title,year,genres,tomatometer_rating,tomatometer_status"
    Path("movies.csv").write_text("\n".join([header, *rows]))
    here, there = (
        run_preprocess(Path("movies.csv"), posters, Path(out), size=16, track=False, scheduler=at)
        for out, at in (("here", ""), ("there", address))
    )
    assert here.fingerprint == there.fingerprint
    assert (here.rejected, there.rejected) == (1, 1)


def test_predict_writes_the_same_rows(posters, address, model):
    (posters / "tt07.jpg").write_bytes(b"no picture")
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
    for out, options in {"here.csv": {}, "there.csv": {"scheduler": address}}.items():
        result = run_predict(os.path.relpath(folder), [posters], out=Path(out), batch_size=7, **options)
        assert (result.scored, result.failed) == (40, 1)
    here, there = pd.read_csv("here.csv"), pd.read_csv("there.csv")
    pd.testing.assert_frame_equal(here, there, rtol=1e-5)
    assert list(there["poster"]) == sorted(str(path) for path in posters.iterdir())
    out = Path("there.csv")
    out.write_bytes(out.read_bytes()[:-1])
    again = run_predict(f"models:/{model.model_id}", [posters], out=out, scheduler=address)
    assert (again.scored, again.resumed) == (1, 39)
    pd.testing.assert_frame_equal(here, pd.read_csv(out), rtol=1e-5)


def test_what_a_table_knows_of_posters_reaches_the_model(posters, address, model):
    rows = [f"posters/tt{n:02d}.jpg,{1990 + n if n % 2 else ''},Drama" for n in range(10)]
    Path("movies.csv").write_text("\n".join(["path,year,genres", *rows, "gone.jpg,2001,"]))
    uri, table = f"models:/{model.model_id}", Path("movies.csv")
    run_predict(uri, [table], out=Path("here.csv"))
    run_predict(uri, [table], out=Path("there.csv"), scheduler=address, batch_size=3)
    here, there = pd.read_csv("here.csv"), pd.read_csv("there.csv")
    pd.testing.assert_frame_equal(here, there, rtol=1e-5)
    assert there["note"].notna().sum() == 11, "this model says that it knows nothing of year and genres"
    assert there["error"].notna().tolist() == [False] * 10 + [True]


def test_explain_draws_the_same_pictures_or_nothing(posters, address, model):
    uri, files = f"models:/{model.model_id}", sorted(posters.iterdir())[:9]
    here, there = (
        run_explain(uri, files, Path(f"maps{at}"), layer="conv", what_if=["centre"], scheduler=at)
        for at in ("", address)
    )
    assert [path.name for path in here.files] == [path.name for path in there.files]
    assert len(there.files) == 2 + 9 + 1
    hidden = [pd.read_csv(result.files[-1]) for result in (here, there)]
    pd.testing.assert_frame_equal(*hidden, rtol=1e-3, atol=1e-5)
    assert list(hidden[0]["poster"]) == list(map(str, files))
    assert all(path.is_file() for path in there.files)
    with pytest.raises(UnknownLayerError, match="no layer 'mixed8'"):
        run_explain(uri, files, Path("none"), layer="mixed8", scheduler=address)
    (posters / "tt07.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"^posters/tt07\.jpg: not an image"):
        run_explain(uri, files, Path("none"), scheduler=address)
    assert not Path("none").exists()


def test_a_file_that_kills_every_worker_is_one_row(posters, monkeypatch):
    monkeypatch.setattr(
        "poster_ml.cluster.map_in_order",
        lambda client, task, items, batch: (([item], None) for item in items),
    )
    nobody, files = object(), [posters / "tt01.jpg"]
    killed = "decoding it crashed its worker repeatedly"
    assert list(prepare_posters(files, 16, "pad", nobody)) == [f"broken image: {killed}"]
    (rows,) = score_files(nobody, ScoreTask(object, posters, 0.4), files, 4)
    (row,) = rows.to_dict("records")
    assert {name: None if pd.isna(cell) else cell for name, cell in row.items()} == {
        **dict.fromkeys(COLUMNS), "poster": "posters/tt01.jpg", "threshold": 0.4, "error": killed,
    }  # fmt: skip


def test_what_the_workers_do_not_see_is_said_before_anything_is_written(posters, address, model, monkeypatch):
    monkeypatch.setattr("poster_ml.cluster._missing", lambda paths: paths[:1])
    with pytest.raises(ClusterError, match=r"the worker \S+ does not see .*posters: give a path that all"):
        run_predict(f"models:/{model.model_id}", [posters], out=Path("out.csv"), scheduler=address)
    assert [path.name for path in Path().iterdir()] == ["posters"]


@pytest.mark.parametrize(
    "command",
    [
        "predict --model-uri m posters",
        "explain --model-uri m posters --out maps",
        "preprocess --table movies.csv --posters posters",
    ],
)
def test_workers_here_and_a_scheduler_contradict(posters, address, capsys, command):
    assert cli.run([*command.split(), "--workers", "2", "--scheduler", address]) == 2
    assert "--workers 2 is for this machine, and the scheduler" in capsys.readouterr().err
