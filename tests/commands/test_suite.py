"""The suite: which overrides hold for whom, what is found again, what the table says."""

import logging
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from poster_ml.commands.suite import run_suite
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ConfigError
from poster_ml.pipeline import comparison
from poster_ml.pipeline.suite_table import build_table
from poster_ml.pipeline.suite_tasks import overrides_of, suite_tasks
from poster_ml.tracking.runs import RunLogger, RunRecord, find_run, search_runs
from tests.commands.datasets import predictions

TINY = [
    "evaluate.bootstrap=100", "explain.faithfulness_posters=0", "explain.shortcut_posters=0", "train.epochs=1",
    "model.dense=[4]", "model.filters=[4]", "basic_cnn:model.dense=[8]",
]  # fmt: skip


def test_an_override_for_one_variant_reaches_that_one_only_and_wins():
    given = [
        "vgg16:train.epochs=1",
        "train.epochs=5",
        "explain.layer=a:b",
    ]  # a colon in a value is not a prefix
    assert overrides_of("vgg16", given) == ["train.epochs=5", "explain.layer=a:b", "train.epochs=1"]
    assert overrides_of("basic_cnn", given) == ["train.epochs=5", "explain.layer=a:b"]


def test_all_unknown_variants_are_named_at_once():
    said = r"unknown variant 'vgg61' \(did you mean 'vgg16'\?\) and 'cnn': choose of basic_cnn, "
    with pytest.raises(ConfigError, match=said):
        suite_tasks(None, "sound", ["vgg61"], ["cnn:train.epochs=1"], 1)


def test_all_variants_share_a_dataset_that_was_opened_and_verified_once(tiny_dataset, monkeypatch):
    verified: list[Path] = []
    monkeypatch.setattr(PreparedDataset, "verify", lambda dataset: verified.append(dataset.folder))
    tasks = suite_tasks(tiny_dataset, "sound", ["basic_cnn", "regularized_cnn"], [], seeds=2)
    found = [(task.config.variant, task.config.seed) for task in tasks]
    assert found == [(name, seed) for name in ("basic_cnn", "regularized_cnn") for seed in (42, 43)]
    assert len({id(task.dataset) for task in tasks}) == 1
    assert verified == [tiny_dataset]


def record(name: str, weights: str, strength: float, seed: int) -> RunRecord:
    metrics = {"best_epoch_accuracy": 0.9, "best_epoch": 3.0, "epochs": 7.0, "threshold": 0.5}
    known = "val_baseline_year_genre_roc_auc"
    metrics |= {known: 0.75, f"{known}_ci_low": 0.72, f"{known}_ci_high": 0.78, "strength": strength}
    params = {"model.family": name.removeprefix("basic_"), "model.weights": weights, "seed": str(seed)}
    return RunRecord(f"{name}{seed}", f"{name} seed {seed}", "FINISHED", params, {"variant": name}, metrics)


def test_the_table_has_a_row_per_variant_and_keeps_random_weights_out(monkeypatch, tmp_path):
    labels = np.arange(500) % 5 > 1

    def logged(run: RunRecord, split: str) -> pd.DataFrame:
        assert split == "val"
        return predictions(labels, run.metrics["strength"], int(run.params["seed"]))

    monkeypatch.setattr(comparison, "logged_predictions", logged)
    runs = {
        "basic_cnn": [record("basic_cnn", "none", 0.1, seed) for seed in (1, 2, 3)],
        "vgg16": [record("vgg16", "none", 2.0, 4)],
        "mobilenet_v2": [record("mobilenet_v2", "file.h5", 2.0, seed) for seed in (5, 6)],
    }
    table = build_table(runs, confidence=0.95)
    rows = table.markdown().splitlines()
    assert rows[2].startswith("| basic_cnn | 3 | .99 / .55 | 0.900 |")
    assert "±" in rows[2]
    assert rows[3].startswith("| vgg16 (random weights) | 1 | .62 / .62 |")
    assert "±" not in rows[3]
    assert rows[2].rstrip(" |").endswith("3 of 7")
    assert rows[5] == "| majority |  |  |  | 0.600 | 0.500 |  |  |"
    assert "| year + genres, no poster |  |  |  |  | 0.750 (0.720 to 0.780) |  |  |" in rows
    assert table.random == ["vgg16"]
    pairs = [{pair["first"], pair["second"]} for pair in table.scores.pairs]
    assert pairs == [{"basic_cnn", "mobilenet_v2"}]
    assert table.scores.pairs[0]["significant"] == "ROC AUC"
    table.write(tmp_path)
    names = {path.name for path in tmp_path.glob("[!.]*")}
    assert names == {"suite.md", "suite.csv", "suite.png", "pairs.csv", "pairs.png", "comparison.txt"}
    frame = pd.read_csv(tmp_path / "suite.csv")
    assert list(frame["random_weights"]) == [False] * 3 + [True] + [False] * 2


@pytest.mark.usefixtures("undrawn")
def test_a_suite_trains_each_once_goes_on_where_it_was_interrupted_and_says_what_it_leaves(
    tiny_dataset, mlflow_place, caplog, monkeypatch
):
    caplog.set_level(logging.INFO)
    out, client = mlflow_place / "out", mlflow.MlflowClient()

    def suite(*names, seeds=1, more=()):
        return run_suite(data=tiny_dataset, only=names, overrides=[*TINY, *more], seeds=seeds, out=out)

    def interrupt(run: RunLogger, metrics: dict[str, float], step: int = 0) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunLogger, "log_metrics", interrupt)
        with pytest.raises(KeyboardInterrupt):
            suite("basic_cnn")
    (begun,) = [run for run in search_runs("attributes.status = 'KILLED'") if run.variant]
    two = suite("basic_cnn", "regularized_cnn", more=["evaluate.bootstrap=150"])
    assert two.rows[0]["run_id"] == begun.run_id
    assert find_run(begun.run_id).status == "FINISHED"
    assert find_run(begun.run_id).params["evaluate.bootstrap"] == "100"
    assert f"basic_cnn continues: run {begun.run_id}" in caplog.text
    assert "keeps the settings that it was begun with (evaluate.bootstrap=100)" in caplog.text

    (out / "mine.txt").write_text("a note of the user's")
    seeds = suite("basic_cnn", seeds=2, more=["evaluate.confidence=0.8", "vgg16:train.epochs=1"])
    written = {"suite.md", "suite.csv", "suite.png"}
    pairs = {"pairs.csv", "pairs.png", "comparison.txt"}
    assert {file.path for file in client.list_artifacts(two.run_id)} == written | pairs
    assert {file.path for file in client.list_artifacts(seeds.run_id)} == written
    assert {file.name for file in out.iterdir()} == written | {"mine.txt", ".poster-ml-suite"}
    assert [row["seed"] for row in seeds.rows] == ["42", "43"]
    assert seeds.rows[0]["run_id"] == begun.run_id, "evaluating does not ask for another training"
    assert seeds.rows[1]["run_id"] != begun.run_id
    assert "keeps the settings that it was begun with (evaluate.confidence=0.95)" in caplog.text
    assert "--set vgg16:... is for vgg16, which is not among the chosen variants" in caplog.text
    assert "| basic_cnn | 2 |" in seeds.text()
    assert "the 80% interval" in seeds.table
