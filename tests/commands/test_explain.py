"""`explain` on files: sheets, layers, neighbours and hidden parts, and what is refused before they are written."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit

from poster_ml.commands import explain
from poster_ml.data.images import decode_poster
from poster_ml.errors import DatasetError, ExplanationError, OutputError, UnknownLayerError
from poster_ml.explain.sheets import write_rows
from poster_ml.pipeline import neighbours, poster_sheets
from poster_ml.pipeline.poster_boxes import DETECTORS
from poster_ml.serving.reference import Neighbours
from poster_ml.serving.settings import ServingSettings
from tests.pictures import poster as picture
from tests.refusals import refusal


@pytest.fixture(autouse=True)
def model(monkeypatch):
    """A network of one convolution stands for the one that is loaded."""
    image = keras.Input((12, 12, 3), dtype="uint8")
    tensor = keras.layers.Conv2D(2, 3, name="conv")(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(tensor)))
    settings = ServingSettings(size=12, temperature=2.0)
    monkeypatch.setattr(explain, "load_keras_model", lambda uri: (network, settings))


def draw(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    picture(seed, 32, 48).save(path, "PNG")
    return path


@pytest.fixture
def one(tmp_path):
    """One poster."""
    return draw(tmp_path / "a.png")


@pytest.fixture
def out(tmp_path):
    """Where results go; not there yet."""
    return tmp_path / "out"


def test_files_are_explained_in_sheets_of_eight(tmp_path, out):
    paths = [draw(tmp_path / ("a" if n < 8 else "b") / f"poster{n % 8}.png") for n in range(9)]
    files = explain.run_explain(str(tmp_path), paths, out, layer="conv").files
    names = [str(path.relative_to(out)) for path in files]
    assert names[:3] == ["maps_1.png", "maps_2.png", "poster0/activations_conv.png"]
    assert names[-1] == "poster0_2/activations_conv.png"
    assert len(names) == 2 + 9
    assert all(path.is_file() for path in files)


def test_the_probability_is_the_calibrated_one(one, out, monkeypatch):
    said = []
    monkeypatch.setattr(
        poster_sheets, "poster_caption", lambda _, probability: said.append(probability) or ""
    )
    monkeypatch.setattr(poster_sheets, "write_sheet", lambda path, *_: path)
    explain.run_explain(str(one.parent), [one], out)
    network, settings = explain.load_keras_model("")
    logit = network.predict(decode_poster(one, settings.size).pixels[None], verbose=0)[0, 0]
    assert said == [pytest.approx(expit(logit / 2.0), rel=1e-5)]


def test_names_that_are_no_text_or_lead_out_of_the_folder_are_explained_in_it(tmp_path, out):
    paths = [draw(tmp_path / os.fsdecode(b"caf\xe9.png")), draw(tmp_path / "...png")]
    result = explain.run_explain(str(tmp_path), paths, out)
    assert all(file.is_file() and out in file.resolve().parents for file in result.files)
    assert "caf\\udce9/activations_conv.png" in result.text()
    assert "out/poster/activations_conv.png" in result.text()


def test_refusals_write_nothing(tmp_path, one, out, tiny_dataset, monkeypatch):
    broken, bare = tmp_path / "b.png", tmp_path / "model"
    broken.write_bytes(b"no picture")
    bare.mkdir()
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "c.png").write_bytes(b"no picture")
    (bare / "MLmodel").write_text("flavors: {}")  # it knows no training posters
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    for error, posters, options, said in (
        (DatasetError, [one, broken], {}, "; leave it out or give a whole image"),
        (DatasetError, [alone], {}, "; leave it out or give a whole image"),
        (UnknownLayerError, [one], {"layer": "mixed8"}, "no layer 'mixed8'"),
        (ExplanationError, [one], {"data": tiny_dataset}, "features of its training posters"),
        (ExplanationError, [one], {"what_if": ["sky"]}, "takes text, faces, border, centre; received 'sky'"),
        (ExplanationError, [one], {"what_if": ["text"]}, "install it with: pip install 'poster-ml[detect]'"),
    ):
        assert said in refusal(error, explain.run_explain, str(bare), posters, out, **options)
    assert not out.exists()
    said = refusal(OutputError, explain.run_explain, str(bare), [one], tmp_path)
    assert "is not a result of `poster-ml explain`" in said


def test_a_broken_image_of_a_folder_is_left_out_and_said(tmp_path, caplog):
    folder = tmp_path / "posters"
    for number in range(9):
        draw(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no picture")
    files = explain.run_explain(str(tmp_path), [folder], tmp_path / "out").files
    drawn = {path.parent.name for path in files if path.name.startswith("activations_")}
    assert drawn == {"0", "1", "2", "4", "5", "6", "7", "8"}
    [said] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith(f"{folder / '3.png'} is left out: not an image: ")


def test_the_most_alike_training_posters_are_drawn_beside_each_poster(tmp_path, out, monkeypatch):
    posters = [draw(tmp_path / "in" / f"{number}.png", seed=number) for number in range(10)]
    _, settings = explain.load_keras_model("")
    images = np.stack([decode_poster(path, settings.size).pixels for path in posters])

    def features(asked: np.ndarray) -> np.ndarray:  # every poster is like itself and like no other
        return np.array([[np.array_equal(one, image) for image in images] for one in asked], np.float32)

    monkeypatch.setattr(neighbours, "PooledFeatures", lambda model: features)
    movies = pd.DataFrame({"movie_id": [f"tt{number}" for number in range(10)], "label": [0, 1] * 5})
    known = Neighbours.of(features(images), movies.assign(title="A", year=1999))
    monkeypatch.setattr(explain, "stored_neighbours", lambda uri, dataset: known)
    dataset = SimpleNamespace(index=movies, images=images)
    monkeypatch.setattr(explain, "PreparedDataset", SimpleNamespace(open=lambda data: dataset))
    drawn = []
    monkeypatch.setattr(neighbours, "write_rows", lambda *given: drawn.append(given[1]) or write_rows(*given))
    files = explain.run_explain("m", [posters[3], posters[9]], out, data=tmp_path).files
    assert Image.open(out / "neighbours_1.png").size[0] > 1000
    assert out / "neighbours_1.png" in files
    for row, number in zip(drawn[0], (3, 9), strict=True):
        (own, name), (nearest, caption), *others = row
        assert name == str(number)
        np.testing.assert_array_equal(own, images[number])
        assert caption == "A (1999)\nFresh, cosine 1.00"
        assert len(others) == 7
        np.testing.assert_array_equal(nearest, images[number])


def test_a_dataset_of_other_movies_is_refused(monkeypatch):
    movies = pd.DataFrame({"movie_id": ["1", "2"], "title": ["A", None], "year": 1999, "label": 1})
    stored = Neighbours.of(np.ones((2, 3)), movies)
    monkeypatch.setattr(neighbours, "load_reference", lambda uri: SimpleNamespace(neighbours=stored))
    same = movies.assign(movie_id=[1, 2], title=["A", ""])  # numbers, and an empty text for a gap
    own, other = (
        SimpleNamespace(folder=Path("data"), index=index) for index in (same, same.assign(title=["A", "B"]))
    )
    assert neighbours.stored_neighbours("m", own) is stored
    with pytest.raises(ExplanationError, match="m was trained on other posters than data holds"):
        neighbours.stored_neighbours("m", other)


def test_hiding_parts_stands_in_a_table_beside_boxes_elsewhere(one, out):
    result = explain.run_explain(str(one.parent), [one], out, what_if=["border", "centre"])
    table = pd.read_csv(out / "what_if.csv")
    assert table["part"].tolist() == ["border"] * 4 + ["centre"]
    assert table["elsewhere"].between(4, 16).all()
    assert table["change"].abs().between(1e-9, 1).any()
    assert f"centre (0.30 0.30 0.70 0.70) hidden: P(Fresh) {table['change'].iloc[4]:+.3f}" in result.text()


def test_found_text_is_hidden_the_largest_first(one, out, monkeypatch):
    boxes = [[0.0, 0.0, 3.0, float(2 + number)] for number in range(7)]
    monkeypatch.setitem(DETECTORS, "text", lambda: lambda image: boxes)
    explain.run_explain(str(one.parent), [one], out, what_if=["text"])
    table = pd.read_csv(out / "what_if.csv")
    assert table["right"].tolist() == [0.25] * 5
    assert table["bottom"].tolist() == pytest.approx([8 / 12, 7 / 12, 6 / 12, 5 / 12, 4 / 12], abs=1e-6)
