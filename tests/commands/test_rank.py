"""`rank`: designs in order, with what their differences have been worth, and one line for what cannot be."""

import json
from dataclasses import asdict
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.commands.rank import CAVEAT, run_rank
from poster_ml.errors import DatasetError
from poster_ml.serving.log import log_poster_model
from poster_ml.serving.reference import Reference
from tests.refusals import refusal


@pytest.fixture(scope="module")
def model_uri(shared_mlflow_store):
    """A model whose logit is the brightness of the poster, 0 to 4, and 400 validation movies that it sorts well."""
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    dense = keras.layers.Dense(1)
    network = keras.Model(inputs, dense(pooled))
    dense.set_weights([np.full((3, 1), 4 / 3, "float32"), np.zeros(1, "float32")])
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    logits = random.normal(labels * 1.5, 1.0)
    validation = pd.DataFrame({"label": labels, "logit": logits, "year": 1999, "genres": "Drama"})
    with mlflow.start_run():
        return log_poster_model(network, size=32, reference=Reference(validation)).model_uri


@pytest.fixture
def designs(tmp_path):
    """A dark, a grey, a nearly as grey and a bright design, with a stripe: posters of one colour are refused."""
    paths = []
    for name, level in (("dark", 20), ("grey", 120), ("alike", 121), ("bright", 240)):
        pixels = np.full((90, 60, 3), level, np.uint8)
        pixels[40:44] = 255 - level
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        paths.append(tmp_path / f"{name}.png")
    return paths


def test_designs_stand_in_order_with_what_the_differences_are_worth(model_uri, designs):
    result = run_rank(model_uri, designs)
    names = [Path(one["poster"]).stem for one in result.designs]
    assert names == ["bright", "alike", "grey", "dark"]
    assert [one["rank"] for one in result.designs] == [1, 2, 3, 4]
    assert all(pair["told_apart"] for pair in (result.pairs[0], result.pairs[2]))
    text = result.text()
    assert text.splitlines()[-1] == CAVEAT
    assert "pairs of movies that differ at least so much, the higher one was the Fresh one in" in text
    json.dumps(asdict(result))


def test_what_cannot_be_read_comes_last_and_a_strange_year_is_said(model_uri, designs, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    result = run_rank(model_uri, [tmp_path / "broken.jpg", *designs[:2]], year=1850)
    assert result.designs[-1]["rank"] is None
    assert result.designs[-1]["error"]
    assert len(result.pairs) == 1
    note = result.designs[0]["note"]
    assert "year" in note
    assert result.text().splitlines().count(note) == 1, "a line of its own, not a cell per design"


def test_the_same_file_twice_is_two_designs_that_are_not_told_apart(model_uri, designs):
    result = run_rank(model_uri, [designs[0], designs[0]])
    assert [one["rank"] for one in result.designs] == [1, 1]
    assert not result.pairs[0]["told_apart"]


def test_too_few_designs_and_missing_files_are_refused_before_the_model_is_loaded(designs, tmp_path):
    said = refusal(DatasetError, run_rank, "models:/nothing/1", designs[:1])
    assert said.startswith("rank compares 2 to 50 designs, received 1")
    said = refusal(DatasetError, run_rank, "models:/nothing/1", [designs[0], tmp_path / "missing.png"])
    assert said.startswith(f"no file {tmp_path}/missing.png: name image files")
