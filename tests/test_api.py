"""The functions of `poster_ml`: the commands' own results, and an import that loads nothing heavy."""

import json

import numpy as np
import pandas as pd
import pytest

import poster_ml
from poster_ml import cli
from poster_ml.errors import ConfigError, DatasetError, RegistryError
from tests.programs import run_python

QUICK = {
    "model.filters": [4, 8],
    "model.dense": [16],
    "train.epochs": 2,
    "evaluate.bootstrap": 100,
    "explain.faithfulness_posters": 0,
    "explain.shortcut_posters": 0,
}


@pytest.fixture(scope="module")
def trained(shared_mlflow_place, tiny_dataset, undrawn):
    """A run of two epochs, and where its model is."""
    result = poster_ml.train("basic_cnn", data=tiny_dataset, settings=QUICK)
    return result, f"runs:/{result.run_id}/model"


def test_importing_poster_ml_loads_no_library_and_names_what_it_offers():
    script = (
        "import sys, poster_ml; before = set(sys.modules)\n"
        "print(not before & {'keras', 'tensorflow', 'mlflow', 'numpy', 'pandas', 'pydantic', 'yaml'})\n"
        "poster_ml.train; print(not set(sys.modules) & {'keras', 'tensorflow', 'mlflow', 'pandas'})"
    )
    assert run_python("-c", script).stdout.split() == ["True", "True"]
    for name in poster_ml.__all__:
        assert getattr(poster_ml, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = poster_ml.nothing


def test_train_takes_settings_by_dotted_key_and_reports_all_faults_at_once(trained):
    result, _ = trained
    assert (result.variant, result.epochs, result.profile) == ("basic_cnn", 2, "full")
    assert 0 <= result.metrics["val_roc_auc"] <= 1
    with pytest.raises(ConfigError) as error:
        poster_ml.train("basic_cnn", settings={"train.epoch": 3, "model.dropout": 2})
    with pytest.raises(ConfigError, match=r"settings: received \['train.epochs=3'\], allowed: a mapping"):
        poster_ml.train("basic_cnn", settings=["train.epochs=3"])
    assert all(key in str(error.value) for key in ("train.epoch: unknown key", "model.dropout: "))


def test_predictions_are_those_of_the_command_line(trained, tiny_dataset, capsys):
    _, uri = trained
    posters = tiny_dataset.parent / "synthetic" / "posters"
    table = poster_ml.load_model(uri).predict(posters, batch_size=50)
    assert cli.run(["predict", "--model-uri", uri, str(posters), "--format", "json"]) == 0
    printed = pd.DataFrame(json.loads(capsys.readouterr().out))
    assert list(table["poster"]) == list(printed["poster"])
    assert len(table) == 160
    np.testing.assert_allclose(
        table["probability_fresh"].astype(float), printed["probability_fresh"], atol=1e-6
    )


def test_a_bad_file_is_a_row_and_a_missing_one_is_refused(trained, tiny_dataset, tmp_path):
    model = poster_ml.load_model(trained[1])
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    good = next((tiny_dataset.parent / "synthetic" / "posters").glob("*.jpg"))
    first, second = model.predict([str(good), tmp_path / "broken.jpg"]).to_dict("records")
    assert first["error"] is None
    assert first["label"] in ("Fresh", "Rotten")
    assert second["error"]
    assert second["label"] is None
    with pytest.raises(DatasetError, match="no file or folder"):
        model.predict("missing.jpg")
    with pytest.raises(RegistryError, match="no model at"):
        poster_ml.load_model(str(tmp_path))


def test_evaluate_adds_the_test_metrics_to_the_run_of_the_model(trained):
    result, uri = trained
    tested = poster_ml.evaluate(uri, settings={"evaluate.bootstrap": 100})
    assert (tested.run_id, tested.split, tested.variant) == (result.run_id, "test", "basic_cnn")
    assert tested.metrics["test_roc_auc_ci_low"] <= tested.metrics["test_roc_auc"]
    assert tested.findings
