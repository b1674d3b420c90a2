"""A cross-validation from command to table: who is trained on what, and what is computed once."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest

from poster_ml.commands.evaluate import run_evaluate
from poster_ml.commands.folds import run_folds
from poster_ml.commands.train import run_train
from poster_ml.data.folds import open_fold
from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import ConfigError, RegistryError
from poster_ml.pipeline.folds import MEAN
from poster_ml.pipeline.members import load_members
from poster_ml.pipeline.preflight import check_training
from poster_ml.pipeline.records import logged_predictions
from poster_ml.serving.registry import register_best
from poster_ml.tracking.runs import find_run, search_runs
from poster_ml.training.features import list_entries

LEAN = ["train.epochs=2", "train.precision=float32"]


@pytest.fixture
def cache(mlflow_store, monkeypatch):
    monkeypatch.setenv("POSTER_ML_CACHE", str(mlflow_store / "features"))
    return mlflow_store / "features"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """One backbone for all seeds, as ImageNet's."""
    file = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(40, 40, 3)).save_weights(
        file
    )
    return [f"model.weights={file}"]


def folded(dataset, out, only, weights, **options):
    return run_folds(folds=3, data=dataset, only=only, overrides=LEAN + weights, out=out, **options)


def test_every_poster_is_scored_once_and_frozen_layers_see_it_once(
    cache, tiny_dataset, tmp_path, monkeypatch, weights
):
    counted = []
    predict = keras.Model.predict_on_batch

    def counting(model, batch):
        if model.name.endswith("_prefix"):
            counted.append(len(batch))
        return predict(model, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counting)
    variants = ["mobilenet_v2", "mobilenet_multilevel"]
    result = folded(tiny_dataset, tmp_path / "out", variants, weights, seeds=2)
    index = PreparedDataset.open(tiny_dataset).index
    # 160 posters in batches of 64, the last one filled up, for two networks: not for 3 folds and 2 seeds.
    assert sum(counted) == 2 * 3 * 64
    assert [entry.about["shape"][0] for entry in list_entries(cache)] == [160, 160]
    for name in [*variants, MEAN]:
        for number in (1, 2):
            table = pd.read_csv(tmp_path / "out" / f"scores_{name}_{number}.csv", dtype={"movie_id": str})
            assert sorted(table["movie_id"]) == sorted(index["movie_id"])
            assert table["probability"].between(0, 1).all()
    assert set(result.metrics) >= {f"{MEAN}.gain", "mobilenet_v2.roc_auc_ci_low", "mobilenet_v2.brier"}
    runs = [run for run in search_runs() if "fold" in run.tags]
    assert sorted({run.tags["fold"] for run in runs}) == ["1/3", "2/3", "3/3"]
    assert len(runs) == 2 * 2 * 3
    assert find_run(result.run_id).metrics["mobilenet_v2.roc_auc"] == pytest.approx(
        result.metrics["mobilenet_v2.roc_auc"]
    )
    # Called again, nothing is trained again.
    again = folded(tiny_dataset, tmp_path / "out", variants, weights, seeds=2)
    assert again.metrics == result.metrics
    assert len([run for run in search_runs() if "fold" in run.tags]) == len(runs)


def test_no_label_of_the_held_out_posters_is_seen(cache, tiny_dataset, tmp_path, monkeypatch, weights):
    """With every held-out label turned over, the scores are the same."""
    folded(tiny_dataset, tmp_path / "true", ["mobilenet_v2"], weights)

    def turned(dataset, text):
        view = open_fold(dataset, text)
        held_out = view.index["split"] == "test"
        view.index.loc[held_out, "label"] = 1 - view.index.loc[held_out, "label"]
        return view

    monkeypatch.setattr("poster_ml.commands.folds.open_fold", turned)
    monkeypatch.setattr("poster_ml.pipeline.suite_tasks.search_runs", lambda *_, **__: [])
    folded(tiny_dataset, tmp_path / "turned", ["mobilenet_v2"], weights)
    one, other = (pd.read_csv(tmp_path / name / "scores_mobilenet_v2_1.csv") for name in ("true", "turned"))
    np.testing.assert_array_equal(one["label"], 1 - other["label"])
    for column in ("logit", "probability", "threshold", "probability_metadata", "probability_combined"):
        np.testing.assert_allclose(one[column], other[column], rtol=1e-5, err_msg=column)


def test_a_limit_is_refused(cache, tiny_dataset, tmp_path):
    with pytest.raises(ConfigError, match="--folds scores every poster, received max_samples=50: leave"):
        run_folds(
            folds=3,
            data=tiny_dataset,
            only=["mobilenet_v2"],
            overrides=["max_samples=50"],
            out=tmp_path / "o",
        )


def test_a_fold_is_trained_and_its_own_posters_are_tested(cache, tiny_dataset, weights):
    lean = ["evaluate.bootstrap=100", "evaluate.appearance_posters=0", "explain.faithfulness_posters=0"]
    lean += ["explain.shortcut_posters=0", "explain.detect_posters=0"]
    config = check_training("mobilenet_v2", overrides=[*LEAN, *weights, *lean])
    dataset = PreparedDataset.open(tiny_dataset)
    run_id = run_train(config, dataset, fold="2/3").run_id
    assert find_run(run_id).tags["fold"] == "2/3"
    run_evaluate(run=run_id)
    held_out = open_fold(dataset, "2/3").index.query("split == 'test'")["movie_id"]
    assert list(logged_predictions(find_run(run_id), "test")["movie_id"]) == list(held_out)
    other = run_train(config, dataset, fold="1/3").run_id
    with pytest.raises(ConfigError, match="averaged runs must share one fold, or none have one; folds: "):
        load_members([run_id, other])
    with pytest.raises(RegistryError, match="no run of the family 'mobilenet_v2'"):
        register_best("mobilenet_v2")
