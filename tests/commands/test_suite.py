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
from poster_ml.pipeline import records
from poster_ml.pipeline.suite_table import build_table
from poster_ml.pipeline.suite_tasks import overrides_of, suite_tasks
from poster_ml.tracking.runs import RunLogger, RunRecord, find_run, search_runs

LEAN = ["evaluate.bootstrap=100", "explain.faithfulness_posters=0", "explain.shortcut_posters=0"]


def test_an_override_for_one_variant_reaches_that_one_only_and_wins():
    given = ["vgg16:train.epochs=1", "train.epochs=5", "explain.layer=a:b"]  # a colon in a value is no prefix
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
    assert [(task.config.variant, task.config.seed) for task in tasks] == [
        ("basic_cnn", 42),
        ("basic_cnn", 43),
        ("regularized_cnn", 42),
        ("regularized_cnn", 43),
    ]
    assert len({id(task.dataset) for task in tasks}) == 1
    assert verified == [tiny_dataset]


def record(name: str, family: str, weights: str, auc: float, seed: int) -> RunRecord:
    metrics = {
        "best_epoch_accuracy": 0.9,
        "best_epoch": 3.0,
        "epochs": 7.0,
        "threshold": 0.5,
        "val_baseline_year_genre_roc_auc": 0.75,
        "val_baseline_year_genre_roc_auc_ci_low": 0.72,
        "val_baseline_year_genre_roc_auc_ci_high": 0.78,
        "strength": auc,
    }
    params = {"model.family": family, "model.weights": weights, "seed": str(seed)}
    tags = {"variant": name}
    return RunRecord(f"{name}{seed}", f"{name} seed {seed}", "FINISHED", params, tags, metrics)


@pytest.fixture
def predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Posters whose label a run sees with its own strength."""
    labels = np.arange(500) % 5 > 1

    def logged(run: RunRecord, split: str) -> pd.DataFrame:
        assert split == "val"
        noise = np.random.default_rng(int(run.params["seed"])).normal(size=len(labels))
        values = 1 / (1 + np.exp(-(run.metrics["strength"] * (labels - 0.5) + noise)))
        ids = [f"tt{number}" for number in range(len(labels))]
        return pd.DataFrame({"movie_id": ids, "label": labels.astype(int), "probability": values})

    monkeypatch.setattr(records, "logged_predictions", logged)


def test_the_table_has_a_row_per_variant_and_keeps_random_weights_out(predictions, tmp_path):
    table = build_table(
        {
            "basic_cnn": [record("basic_cnn", "cnn", "none", 0.1, seed) for seed in (1, 2, 3)],
            "vgg16": [record("vgg16", "vgg16", "none", 2.0, 4)],
            "mobilenet_v2": [record("mobilenet_v2", "mobilenet_v2", "file.h5", 2.0, seed) for seed in (5, 6)],
        },
        confidence=0.95,
    )
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


TINY = [*LEAN, "train.epochs=1", "model.dense=[4]", "model.filters=[4]"]


def test_a_suite_trains_each_once_logs_its_own_files_only_and_says_what_it_leaves(
    tiny_dataset, mlflow_place, caplog
):
    caplog.set_level(logging.WARNING)
    out = mlflow_place / "out"
    wide = [*TINY, "basic_cnn:model.dense=[8]"]
    two = run_suite(data=tiny_dataset, only=["basic_cnn", "regularized_cnn"], overrides=wide, out=out)
    (out / "mine.txt").write_text("a note of the user's")
    wide += ["evaluate.bootstrap=150", "evaluate.confidence=0.8", "vgg16:train.epochs=1"]
    seeds = run_suite(data=tiny_dataset, only=["basic_cnn"], overrides=wide, seeds=2, out=out)
    client = mlflow.MlflowClient()
    suite = {"suite.md", "suite.csv", "suite.png"}
    pairs = {"pairs.csv", "pairs.png", "comparison.txt"}
    assert {file.path for file in client.list_artifacts(two.run_id)} == suite | pairs
    assert {file.path for file in client.list_artifacts(seeds.run_id)} == suite
    assert {file.name for file in out.iterdir()} == suite | {"mine.txt", ".poster-ml-suite"}
    assert [row["seed"] for row in seeds.rows] == ["42", "43"]
    assert seeds.rows[0]["run_id"] == two.rows[0]["run_id"], "evaluating does not ask for another training"
    assert seeds.rows[1]["run_id"] != two.rows[0]["run_id"]
    assert "keeps the settings that it was begun with (evaluate.bootstrap=100, evaluate.conf" in caplog.text
    assert "--set vgg16:... is for vgg16, which is not among the chosen variants" in caplog.text
    assert "| basic_cnn | 2 |" in seeds.text()
    assert "the 80% interval" in seeds.table


def test_an_interrupted_suite_goes_on_with_the_settings_that_it_was_begun_with(
    tiny_dataset, mlflow_place, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    tiny = [*TINY, "train.epochs=2"]
    arguments = {"data": tiny_dataset, "only": ["basic_cnn"], "out": mlflow_place / "out"}

    def interrupt(run: RunLogger, metrics: dict[str, float], step: int = 0) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunLogger, "log_metrics", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_suite(**arguments, overrides=tiny)
    (begun,) = [run for run in search_runs("attributes.status = 'KILLED'") if run.variant]
    done = run_suite(**arguments, overrides=[*tiny, "evaluate.bootstrap=150"])
    assert done.rows[0]["run_id"] == begun.run_id
    assert find_run(begun.run_id).status == "FINISHED"
    assert find_run(begun.run_id).params["evaluate.bootstrap"] == "100"
    assert f"basic_cnn continues: run {begun.run_id}" in caplog.text
    assert "keeps the settings that it was begun with (evaluate.bootstrap=100)" in caplog.text
