from __future__ import annotations

import math

import mlflow
import pytest

from poster_ml.errors import RegistryError
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.registry import (
    find_version,
    move_champion,
    register_best,
    register_run,
    registered_name,
    roll_back,
)

FINGERPRINT = "sha256-aaaa"


@pytest.fixture
def runs(tmp_path, mlflow_store, make_network):
    """A function that writes one finished run, in a store of this test alone."""
    from poster_ml.serving.log import log_poster_model

    def write(
        score,
        *,
        family="vgg16",
        profile="full",
        fingerprint=FINGERPRINT,
        status="FINISHED",
        model=True,
        **metrics,
    ):
        with mlflow.start_run() as run:
            mlflow.log_param("model.family", family)
            tags = {"variant": family + "_features", "profile": profile, "dataset.fingerprint": fingerprint}
            mlflow.set_tags({**tags, "git_commit": "c0ffee", "protocol": "sound"})
            mlflow.log_metrics({"val_roc_auc": score, **metrics})
            if model:
                log_poster_model(make_network(int(score * 100)), size=32, family=family)
        if status != "FINISHED":
            mlflow.MlflowClient().set_terminated(run.info.run_id, status)
        return run.info.run_id

    return write


def aliases(name="poster-vgg16"):
    return {
        key: int(value) for key, value in mlflow.MlflowClient().get_registered_model(name).aliases.items()
    }


def test_the_best_finished_run_on_the_same_data_is_registered(runs):
    metrics = {"val_roc_auc_ci_low": 0.6, "val_roc_auc_ci_high": 0.8, "val_loss": 1.0, "test_accuracy": 0.5}
    runs(0.95, status="FAILED")
    runs(0.90, fingerprint="sha256-other")
    runs(0.85, family="mobilenet_v2")
    runs(0.80, model=False)
    runs(math.nan, model=False)
    best = runs(0.70, **metrics)
    runs(0.60, test_accuracy=0.99)
    version = register_best("vgg16")
    assert (version.name, version.number, version.alias, version.run_id) == (
        "poster-vgg16",
        1,
        "champion",
        best,
    )
    assert (version.metric, version.score, version.created) == ("val_roc_auc", 0.7, True)
    assert version.uri == "models:/poster-vgg16/1"
    written = mlflow.MlflowClient().get_model_version("poster-vgg16", "1")
    assert written.tags["val_roc_auc"] == "0.7000 [0.6000, 0.8000]"
    assert written.tags["dataset.fingerprint"] == FINGERPRINT
    assert (written.tags["variant"], written.tags["run_id"]) == ("vgg16_features", best)
    assert written.tags["git_commit"] == "c0ffee"
    assert "val_loss" not in written.tags
    assert written.description == (
        "The run logged no model card; its results are the tags of this version.\n\n"
        f"Run `{best}`, chosen by val_roc_auc on the validation posters, among 3 networks; "
        "test posters had no say."
    )
    network, settings = load_keras_model("models:/poster-vgg16@champion")
    assert (network.output_shape, settings.family) == ((None, 1), "vgg16")
    again = register_best("vgg16")
    assert (again.number, again.alias, again.created) == (1, "champion", False)
    other = register_best("vgg16", dataset_fingerprint="sha256-other")
    assert (other.number, other.alias) == (2, "challenger")
    assert aliases() == {"champion": 1, "challenger": 2}


def described(run_id):
    version = register_run(run_id, chosen_among=12)
    return mlflow.MlflowClient().get_model_version(version.name, str(version.number)).description


def test_a_version_is_described_by_the_model_card_of_its_run_and_by_nothing_else(runs):
    run_id = runs(0.70)
    with mlflow.start_run(run_id=run_id):
        mlflow.log_text("# cnn\n\n- A finding.\n", "model_card.md")
    assert described(run_id) == (
        f"# cnn\n\n- A finding.\n\nRun `{run_id}`, chosen by val_roc_auc on the validation posters, "
        "among 12 networks; test posters had no say."
    )


def test_a_card_that_is_too_long_for_the_registry_is_cut_at_a_line_and_says_so(runs):
    run_id = runs(0.70)
    with mlflow.start_run(run_id=run_id):
        mlflow.log_text("# cnn\n" + "- a finding\n" * 600, "model_card.md")
    text = described(run_id)
    assert 4900 < len(text) <= 5000
    *_, last, blank, end = text.split("\n")
    assert (last, blank) == ("- a finding", "")
    assert end.endswith("The whole card is `model_card.md` of the run.")


def test_a_run_chosen_elsewhere_is_registered_though_another_is_better(runs):
    better, chosen = runs(0.80), runs(0.70)
    first = register_run(chosen)
    assert (first.run_id, first.alias, first.number, first.created) == (chosen, "champion", 1, True)
    again = register_run(chosen)
    assert (again.number, again.alias, again.created) == (1, "champion", False)
    assert register_run(better).alias == "challenger"
    assert aliases() == {"champion": 1, "challenger": 2}


def test_a_run_that_cannot_be_registered_says_why(runs):
    for run_id, message in (
        ("0" * 32, "no run '0000"),
        (runs(0.7, status="FAILED"), "is FAILED, not FINISHED"),
        (runs(0.7, profile="demo"), "is a demo run on synthetic posters"),
        (runs(0.7, model=False), "has no logged model"),
    ):
        with pytest.raises(RegistryError, match=message):
            register_run(run_id)
    with pytest.raises(RegistryError, match="no validation metric 'test_roc_auc'"):
        register_run(runs(0.7, test_roc_auc=0.9), metric="test_roc_auc")


def test_champions_move_and_come_back(runs):
    runs(0.6)
    register_best("vgg16")
    with pytest.raises(RegistryError, match="has had no champion before version 1"):
        roll_back("poster-vgg16")
    runs(0.7)
    register_best("vgg16")
    assert aliases() == {"champion": 1, "challenger": 2}
    move_champion("poster-vgg16", "2")
    assert aliases() == {"champion": 2, "previous_champion": 1}
    assert find_version("poster-vgg16", "champion").version == 2
    version = roll_back("poster-vgg16")
    assert (version.number, version.alias) == (1, "champion")
    assert aliases() == {"champion": 1, "challenger": 2}
    assert mlflow.MlflowClient().get_model_version("poster-vgg16", "2").tags["rolled_back_to"] == "1"


def test_demo_runs_are_taken_only_when_asked(runs):
    runs(0.9, profile="demo")
    with pytest.raises(RegistryError) as caught:
        register_best("vgg16")
    assert str(caught.value) == (
        "all 1 finished runs of vgg16 are demo runs on synthetic posters: train on real ones "
        "(`poster-ml train --model vgg16 --data DIR`), or allow them with --allow-demo"
    )
    assert register_best("vgg16", allow_demo=True).alias == "champion"


def test_every_refusal_says_what_there_is(runs):
    with pytest.raises(
        RegistryError, match="no finished run of 'vgg16' in experiment 'poster-ml'; finished runs: none"
    ):
        register_best("vgg16")
    runs(0.6, model=False)
    cases = [
        (
            {"family": "vgg61"},
            r"no finished run of 'vgg61' .*\(did you mean 'vgg16'\?\); finished runs: vgg16 \(1\)",
        ),
        (
            {"family": "vgg16_features"},
            "'vgg16_features' is a variant of the family 'vgg16', and families are",
        ),
        ({"family": "vgg16", "metric": "test_roc_auc"}, "chosen by a validation metric, got 'test_roc_auc'"),
        (
            {"family": "vgg16", "metric": "val_roc_acu"},
            r"has the metric 'val_roc_acu' \(did you mean 'val_roc_auc'",
        ),
        (
            {"family": "vgg16", "dataset_fingerprint": "x"},
            "on the dataset 'x'; there are runs on sha256-aaaa",
        ),
        ({"family": "vgg16", "experiment": "nope"}, "no experiment 'nope' in this store"),
        ({"family": "vgg16"}, "none of the 1 finished runs of vgg16 has a logged model: train one with"),
    ]
    for arguments, message in cases:
        with pytest.raises(RegistryError, match=message):
            register_best(**arguments)
    with pytest.raises(
        RegistryError, match="no registered model 'poster-vgg16'; nothing is registered yet: run"
    ):
        find_version("poster-vgg16", "champion")
    assert mlflow.MlflowClient().search_registered_models() == []


def test_a_model_is_found_by_every_address_or_refused_with_what_exists(runs, tmp_path):
    run_id = runs(0.6)
    register_best("vgg16")
    logged = (
        mlflow.MlflowClient().search_logged_models([mlflow.get_run(run_id).info.experiment_id])[0].model_id
    )
    for uri in (
        f"runs:/{run_id}/model",
        f"models:/{logged}",
        "models:/poster-vgg16/1",
        "models:/poster-vgg16@champion",
    ):
        assert load_keras_model(uri)[1].size == 32
    cases = {
        "models:/poster-vgg61@champion": r"registered: poster-vgg16 \(@champion\) \(did you mean 'poster-vgg16'",
        "models:/poster-vgg16@challenger": r"poster-vgg16 has @champion \(version 1\); versions: 1$",
        "models:/poster-vgg16@chmpion": r"@champion \(version 1\) \(did you mean 'champion'\?\)",
        "models:/poster-vgg16/99": r"poster-vgg16 has @champion \(version 1\); versions: 1$",
        "runs:/none/model": "Run with id=none not found",
        f"runs:/{run_id}/other": "registered: poster-vgg16",
        str(tmp_path): r"no model at .* \(no file MLmodel\): give models:/NAME@ALIAS",
    }
    for uri, message in cases.items():
        with pytest.raises(RegistryError, match=message) as caught:
            load_keras_model(uri)
        assert "\n" not in str(caught.value)


def test_names():
    assert registered_name("vgg16") == "poster-vgg16"
