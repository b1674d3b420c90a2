"""`compare` through a store: runs of one variant are repeats and shown as mean and spread."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from poster_ml.commands.compare import run_compare
from poster_ml.errors import EvaluationError, TrackingError
from poster_ml.evaluation.compare import score_texts
from poster_ml.pipeline.comparison import group_by_setting
from poster_ml.tracking.runs import RunRecord
from tests.commands.datasets import predictions
from tests.refusals import refusal

LABELS = np.random.default_rng(5).integers(0, 2, 200)


def log_run(name, table=None, **tags):
    """Logs a run, with these predictions on test unless it never was evaluated; returns its id."""
    with mlflow.start_run(run_name=name) as run:
        mlflow.set_tags(tags)
        mlflow.log_metric("threshold", 0.4)
        if table is not None:
            mlflow.log_text(table.to_csv(index=False), "evaluation/test/predictions.csv")
    return run.info.run_id


@pytest.fixture(scope="module")
def runs(shared_mlflow_store):
    """Three seeds of one variant, a run of another one, and a run that never was evaluated."""
    made = {}
    strengths = [("vgg16", 1.4), ("vgg16", 1.5), ("vgg16", 1.6), ("basic_cnn", 0.2)]
    for seed, (variant, strength) in enumerate(strengths):
        table = predictions(LABELS, strength, seed)
        made[log_run(variant, table, variant=variant)] = table
    return made | {log_run("unjudged"): None}


def test_repeats_of_a_variant_are_shown_as_mean_and_spread(runs, tmp_path):
    *evaluated, _ = runs
    comparison = run_compare(evaluated, out=tmp_path)
    areas = [roc_auc_score(LABELS, runs[run]["probability"]) for run in evaluated[:3]]
    right = [np.mean((runs[run]["probability"] >= 0.4) == LABELS) for run in evaluated[:3]]
    means = {one["name"]: one for one in comparison.by_setting.settings}
    assert means["vgg16"]["runs"] == 3
    for text, values in zip(score_texts(means["vgg16"]), (areas, right), strict=True):
        assert text.startswith(f"{np.mean(values):.3f} (")
        assert text.endswith(f") ± {np.std(values, ddof=1):.3f}")
        assert text in comparison.text()
    assert "±" not in score_texts(means["basic_cnn"])[0]  # one run has no spread
    names = sorted(run["name"] for run in comparison.by_run.settings)
    assert names[0] == "basic_cnn"
    assert all(name.startswith("vgg16 ") for name in names[1:])  # told apart by their ids
    spreads = pd.read_csv(tmp_path / "spreads.csv").set_index("name")
    assert spreads.loc["vgg16", "runs"] == 3
    assert np.isnan(spreads.loc["basic_cnn", "roc_auc_spread"])
    assert {file.name for file in tmp_path.glob("[!.]*")} == {
        "pairs.csv", "runs.csv", "comparison.txt", "spreads.csv", "pairs.png", "runs.png",
        "settings.csv", "settings.png",
    }  # fmt: skip
    pair = comparison.by_setting.pairs[0]
    assert (pair["first"], pair["second"], pair["significant"]) == ("vgg16", "basic_cnn", "ROC AUC")


def test_runs_are_compared_together_with_year_and_genres_and_with_these_alone(runs, tmp_path):
    known = np.random.default_rng(9).normal(size=200) + LABELS
    ids = []
    for strength in (0.0, 3.0):  # a poster that says nothing, and one that says much
        table = next(iter(runs.values()))
        poster = np.random.default_rng(8).normal(size=200) + strength * LABELS
        columns = {"probability_metadata": expit(known), "probability_combined": expit(known + poster)}
        ids.append(log_run("poster", table.assign(**columns), variant=f"strength {strength}"))
    comparison = run_compare(ids, out=tmp_path)
    found = {one["name"]: one["roc_auc"] for one in comparison.combined.settings}
    assert found["year + genres, no poster"] == pytest.approx(roc_auc_score(LABELS, known))
    assert found["strength 3.0"] == pytest.approx(roc_auc_score(LABELS, known + poster))
    assert comparison.combined.difference("strength 3.0", "year + genres, no poster").low > 0
    assert "together with year and genres:" in comparison.text()
    assert len(pd.read_csv(tmp_path / "combined_pairs.csv")) == 3
    older = next(iter(runs))  # evaluated without them
    assert run_compare([*ids, older]).combined is None


def record(name, seed, **params):
    return RunRecord(name, name, "FINISHED", {"seed": str(seed), **params}, {"variant": "vgg16"}, {})


def test_runs_that_differ_in_more_than_the_seed_are_no_repeats():
    named = {
        "final default, seed 0": record("a", 1, dropout="0.3"),
        "final default, seed 1": record("b", 2, dropout="0.3"),
        "final trial 7, seed 0": record("c", 1, dropout="0.5"),
        "vgg16": record("d", 9, dropout="0.5", epochs="3"),
    }
    assert group_by_setting(named) == {
        "final default": ["final default, seed 0", "final default, seed 1"],
        "final trial 7": ["final trial 7, seed 0"],
        "vgg16": ["vgg16"],
    }


def test_what_cannot_be_compared_is_told_what_to_do(runs):
    first, *_, unjudged = runs
    assert refusal(TrackingError, run_compare, [first, unjudged]) == (
        f"run {unjudged} (unjudged) has no predictions of test: "
        f"call `poster-ml evaluate --run {unjudged} --split test` first"
    )
    said = refusal(EvaluationError, run_compare, [first, first])
    assert said.startswith(f"compare needs at least two different runs, got {first}, {first}")
