from __future__ import annotations

import math

import mlflow
import pytest

from poster_ml.errors import RegistryError
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.registry import (
    Version,
    find_version,
    move_champion,
    register_best,
    register_run,
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
    runs(0.94, profile="demo")
    runs(0.90, fingerprint="sha256-other")
    runs(0.85, family="mobilenet_v2")
    runs(0.80, model=False)
    runs(math.nan, model=False)
    best = runs(0.70, **metrics)
    runs(0.60, test_accuracy=0.99)
    version = register_best("vgg16")
    assert version == Version("poster-vgg16", 1, "champion", best, "val_roc_auc", 0.7, created=True)
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
    other = register_best("vgg16", dataset="sha256-other")
    assert (other.number, other.alias) == (2, "challenger")
    assert aliases() == {"champion": 1, "challenger": 2}


@pytest.mark.parametrize("findings", [1, 600])
def test_a_version_is_described_by_the_model_card_of_its_run_cut_where_the_registry_ends(runs, findings):
    run_id = runs(0.70)
    card = "# cnn\n" + "- A finding.\n" * findings
    with mlflow.start_run(run_id=run_id):
        mlflow.log_text(card, "model_card.md")
    register_run(run_id, chosen_among=12)
    text = mlflow.MlflowClient().get_model_version("poster-vgg16", "1").description
    chosen = f"Run `{run_id}`, chosen by val_roc_auc on the validation posters, among 12 networks"
    *lines, blank, end = text.split("\n")
    assert end.startswith(f"{chosen}; test posters had no say.")
    assert (lines[0], lines[-1], blank) == ("# cnn", "- A finding.", "")
    assert (findings == 1) == (len(lines) == 2)
    assert end.endswith("The whole card is `model_card.md` of the run.") == (findings == 600)
    assert findings == 1 or 4900 < len(text) <= 5000


def test_a_run_chosen_elsewhere_is_registered_though_another_is_better(runs):
    better, chosen = runs(0.80), runs(0.70)
    first = register_run(chosen)
    assert (first.run_id, first.alias, first.number, first.created) == (chosen, "champion", 1, True)
    assert not register_run(chosen).created
    assert register_run(better).alias == "challenger"
    for unfit in ({"status": "FAILED"}, {"profile": "demo"}, {"model": False}):
        with pytest.raises(RegistryError, match="it must be FINISHED, on real posters, with a logged model"):
            register_run(runs(0.9, **unfit))
    assert aliases() == {"champion": 1, "challenger": 2}


def test_champions_move_and_come_back(runs):
    with pytest.raises(RegistryError) as caught:
        find_version("poster-vgg16", "champion")
    assert str(caught.value) == (
        "poster-vgg16 has no champion: run `poster-ml register --family vgg16` first"
    )
    register_run(runs(0.6))
    with pytest.raises(RegistryError, match="has had no champion before version 1"):
        roll_back("poster-vgg16")
    register_run(runs(0.7))
    assert aliases() == {"champion": 1, "challenger": 2}
    move_champion("poster-vgg16", "2")
    assert aliases() == {"champion": 2, "previous_champion": 1}
    version = roll_back("poster-vgg16")
    assert (version.number, version.alias) == (1, "champion")
    assert aliases() == {"champion": 1, "challenger": 2}
    assert mlflow.MlflowClient().get_model_version("poster-vgg16", "2").tags["rolled_back_to"] == "1"


def test_what_cannot_be_registered_is_refused_with_what_a_run_needs(runs):
    runs(0.6, model=False)
    runs(0.9, family="cnn", profile="demo")
    for family, options in (
        ("vgg61", {}),
        ("vgg16", {"dataset": "x"}),
        ("vgg16", {"experiment": "nope"}),
        ("vgg16", {}),
        ("cnn", {}),
    ):
        with pytest.raises(RegistryError) as caught:
            register_best(family, **options)
        message = str(caught.value)
        assert message.startswith(f"no run of the family '{family}' in experiment ")
        assert message.endswith(f"train one with `poster-ml train --model {family} --data DIR`")
    assert mlflow.MlflowClient().search_registered_models() == []
    assert register_best("cnn", allow_demo=True).alias == "champion"


def test_a_model_is_found_by_every_address_or_refused_with_what_an_address_is(runs, tmp_path):
    run_id = runs(0.6)
    register_best("vgg16")
    logged = mlflow.search_logged_models(output_format="list")[0].model_id
    for uri in (
        f"runs:/{run_id}/model",
        f"models:/{logged}",
        "models:/poster-vgg16/1",
        "models:/poster-vgg16@champion",
    ):
        assert load_keras_model(uri)[1].size == 32
    for uri in (
        "models:/poster-vgg61@champion",
        "models:/poster-vgg16@challenger",
        "models:/poster-vgg16/99",
        "runs:/none/model",
        f"runs:/{run_id}/other",
        str(tmp_path),
    ):
        with pytest.raises(RegistryError, match=r"^no model at .*: give models:/NAME@ALIAS, ") as caught:
            load_keras_model(uri)
        assert uri in str(caught.value)
        assert "\n" not in str(caught.value)
