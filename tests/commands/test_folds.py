"""A cross-validation from command to table: who is trained on what, and what is computed once."""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.folds import run_folds
from poster_ml.commands.train import run_train
from poster_ml.data.folds import open_fold
from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import RegistryError
from poster_ml.pipeline.folds import MEAN
from poster_ml.pipeline.records import logged_predictions
from poster_ml.serving.registry import register_best
from poster_ml.tracking.runs import find_run, search_runs
from poster_ml.training.features import list_entries
from tests.tiny import tiny_config

# One network whose frozen layers are passed through once, and whose statistics come from its training posters;
# and one that is trained whole.
VARIANTS = ["basic_cnn", "vgg16_multilevel"]
LEAN = [
    "train.epochs=2",
    "train.precision=float32",
    "basic_cnn:model.filters=[4]",
    "basic_cnn:model.dense=[4]",
]


@pytest.fixture(scope="module")
def cache(shared_mlflow_place, undrawn):
    """The folder of the frozen features, in a place that all tests of this file share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTER_ML_CACHE", str(shared_mlflow_place / "features"))
        yield shared_mlflow_place / "features"


@pytest.fixture(scope="module")
def fold(cache, tiny_dataset):
    """Calls the command: two folds, one backbone for all seeds as ImageNet's; `out` is a name."""
    file = cache.parent / "vgg16.weights.h5"
    backbone = keras.applications.VGG16(include_top=False, weights=None, input_shape=(40, 40, 3))
    backbone.save_weights(file)
    overrides = [*LEAN, f"vgg16_multilevel:model.weights={file}"]

    def call(out, only, seeds=1):
        folder = cache.parent / out
        return run_folds(folds=2, data=tiny_dataset, only=only, overrides=overrides, seeds=seeds, out=folder)

    return call


@pytest.fixture(scope="module")
def done(fold, cache):
    """What the command returned for two seeds, and the posters in each pass through a frozen prefix."""
    passed = []
    predict = keras.Model.predict_on_batch

    def counting(model, batch):
        if model.name.endswith("_prefix"):
            passed.append(len(batch))
        return predict(model, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "predict_on_batch", counting)
        result = fold("true", VARIANTS, seeds=2)
    return SimpleNamespace(result=result, passed=passed)


def scores(result, variant, number=1):
    return pd.read_csv(result.folder / f"scores_{variant}_{number}.csv", dtype={"movie_id": str})


def test_every_poster_is_scored_once_and_frozen_layers_see_it_once(done, fold, cache, tiny_dataset):
    result = done.result
    # 160 posters in batches of 64, the last one filled up: not for 2 folds and 2 seeds.
    assert sum(done.passed) == 3 * 64
    assert [entry.about["shape"][0] for entry in list_entries(cache)] == [160]
    movies = sorted(PreparedDataset.open(tiny_dataset).index["movie_id"])
    for name in [*VARIANTS, MEAN]:
        for number in (1, 2):
            table = scores(result, name, number)
            assert sorted(table["movie_id"]) == movies
            assert table["probability"].between(0, 1).all()
    assert set(result.metrics) >= {f"{MEAN}.gain", "basic_cnn.roc_auc_ci_low", "basic_cnn.brier"}
    runs = [run for run in search_runs() if "fold" in run.tags]
    assert sorted({run.tags["fold"] for run in runs}) == ["1/2", "2/2"]
    assert len(runs) == 2 * 2 * 2
    logged = find_run(result.run_id).metrics["basic_cnn.roc_auc"]
    assert logged == pytest.approx(result.metrics["basic_cnn.roc_auc"])
    # Called again, nothing is trained again.
    fold("again", VARIANTS)
    assert len([run for run in search_runs() if "fold" in run.tags]) == len(runs)


def test_no_label_of_the_held_out_posters_is_seen(done, fold, monkeypatch):
    """With every held-out label turned over, the scores are the same."""

    def turned(dataset, text):
        view = open_fold(dataset, text)
        held_out = view.index["split"] == "test"
        view.index.loc[held_out, "label"] = 1 - view.index.loc[held_out, "label"]
        return view

    monkeypatch.setattr("poster_ml.commands.folds.open_fold", turned)
    monkeypatch.setattr("poster_ml.pipeline.suite_tasks.search_runs", lambda *_, **__: [])
    one, other = (scores(result, VARIANTS[1]) for result in (done.result, fold("turned", VARIANTS[1:])))
    np.testing.assert_array_equal(one["label"], 1 - other["label"])
    for column in ("logit", "probability", "threshold", "probability_metadata", "probability_combined"):
        np.testing.assert_allclose(one[column], other[column], rtol=1e-5, err_msg=column)


def test_a_fold_is_trained_its_own_posters_are_tested_and_it_is_not_registered(cache, tiny_dataset):
    lean = {"evaluate.appearance_posters": 0, "explain.detect_posters": 0}
    dataset = PreparedDataset.open(tiny_dataset)
    run_id = run_train(tiny_config(**lean), dataset, fold="2/3").run_id
    assert find_run(run_id).tags["fold"] == "2/3"
    run_evaluate(run=run_id)
    held_out = open_fold(dataset, "2/3").index.query("split == 'test'")["movie_id"]
    assert list(logged_predictions(find_run(run_id), "test")["movie_id"]) == list(held_out)
    with pytest.raises(RegistryError, match="no run of the family 'cnn'"):
        register_best("cnn")
