"""Register, promote, roll back: in a store of each test's own."""

import math

import keras
import mlflow
import numpy as np
import pytest

from poster_ml.commands.promote import run_promote, run_roll_back
from poster_ml.commands.register import run_register
from poster_ml.errors import RegistryError
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.log import log_poster_model
from poster_ml.serving.promotion import decision_level
from poster_ml.serving.registry import Version, register_run
from tests.commands.datasets import predictions
from tests.refusals import refusal

NAME = "poster-cnn"
LABELS = np.random.default_rng(5).integers(0, 2, 300)


@pytest.fixture
def write_run(mlflow_store):
    """A function that writes a finished run with a model, and predictions that separate the labels by `strength`.

    `on_validation` separates those of the validation posters, which must have no say.
    """
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(1)(pooled))

    def write(
        score, strength=None, *, on_validation=0.0, family="cnn", model=True, tags=(), metrics=(), params=()
    ):
        known = {"variant": f"basic_{family}", "dataset.fingerprint": "aaaa", "profile": "full"}
        with mlflow.start_run() as run:
            mlflow.log_params({"model.family": family, **dict(params)})
            mlflow.set_tags(known | {"git_commit": "c0ffee"} | dict(tags))
            mlflow.log_metrics({"val_roc_auc": score, **dict(metrics)})
            for split, signal in {"val": on_validation, "test": strength}.items() if strength else ():
                table = predictions(LABELS, signal, int(score * 1000))
                mlflow.log_text(table.to_csv(index=False), f"evaluation/{split}/predictions.csv")
            if model:
                log_poster_model(network, size=32, family=family)
        return run.info.run_id

    return write


def aliases():
    found = mlflow.MlflowClient().get_registered_model(NAME).aliases
    return {alias: int(number) for alias, number in found.items()}


def tags(number):
    return mlflow.MlflowClient().get_model_version(NAME, str(number)).tags


def test_the_best_finished_run_on_the_same_data_is_registered(write_run):
    failed = write_run(0.95)
    mlflow.MlflowClient().set_terminated(failed, "FAILED")
    write_run(0.94, tags={"profile": "demo"})
    write_run(0.90, tags={"dataset.fingerprint": "bbbb"})
    write_run(0.85, family="vgg16")
    write_run(0.80, model=False)
    write_run(math.nan, model=False)
    ends = {"val_roc_auc_ci_low": 0.6, "val_roc_auc_ci_high": 0.8}
    best = write_run(0.70, metrics=ends | {"val_loss": 1.0, "test_accuracy": 0.5})
    write_run(0.60, metrics={"test_accuracy": 0.99})
    version = run_register("cnn")
    assert version == Version(NAME, 1, "champion", best, "val_roc_auc", 0.7, created=True)
    written = mlflow.MlflowClient().get_model_version(NAME, "1")
    wanted = {"val_roc_auc": "0.7000 [0.6000, 0.8000]", "run_id": best, "chosen_among": "3"}
    wanted |= {"dataset.fingerprint": "aaaa", "variant": "basic_cnn", "git_commit": "c0ffee"}
    assert written.tags.items() >= wanted.items()
    assert "val_loss" not in written.tags
    assert written.description == (
        "The run logged no model card; its results are the tags of this version.\n\n"
        f"Run `{best}`, chosen by val_roc_auc on the validation posters, among 3 networks; "
        "test posters had no say."
    )
    again = run_register("cnn")
    assert (again.number, again.alias, again.created) == (1, "champion", False)
    other = run_register("cnn", dataset="bbbb")
    assert (other.number, other.alias) == (2, "challenger")
    assert aliases() == {"champion": 1, "challenger": 2}


@pytest.mark.parametrize("findings", [1, 600])
def test_a_version_is_described_by_the_model_card_of_its_run_cut_where_the_registry_ends(write_run, findings):
    run_id = write_run(0.70)
    with mlflow.start_run(run_id=run_id):
        mlflow.log_text("# cnn\n" + "- A finding.\n" * findings, "model_card.md")
    register_run(run_id, chosen_among=12)
    text = mlflow.MlflowClient().get_model_version(NAME, "1").description
    *lines, blank, end = text.split("\n")
    assert end.startswith(
        f"Run `{run_id}`, chosen by val_roc_auc on the validation posters, among 12 networks; test posters"
    )
    assert (lines[0], lines[-1], blank) == ("# cnn", "- A finding.", "")
    assert end.endswith("The whole card is `model_card.md` of the run.") == (findings == 600)
    assert len(lines) == 2 if findings == 1 else 4900 < len(text) <= 5000


def test_a_run_chosen_elsewhere_is_registered_though_another_is_better(write_run):
    better, chosen = write_run(0.80), write_run(0.70)
    first = register_run(chosen)
    assert (first.run_id, first.alias, first.number, first.created) == (chosen, "champion", 1, True)
    assert not register_run(chosen).created
    assert register_run(better).alias == "challenger"
    for unfit in ({"tags": {"profile": "demo"}}, {"model": False}):
        with pytest.raises(RegistryError, match="it must be FINISHED, on real posters, with a logged model"):
            register_run(write_run(0.9, **unfit))
    assert aliases() == {"champion": 1, "challenger": 2}


def test_what_cannot_be_registered_is_refused_with_what_a_run_needs(write_run):
    write_run(0.6, model=False, family="vgg16")
    write_run(0.9, tags={"profile": "demo"})
    write_run(0.95, params={"max_samples": 100}, family="mobilenet_v2")
    for family, options in (
        ("vgg61", {}), ("vgg16", {"dataset": "x"}), ("vgg16", {}), ("cnn", {}), ("mobilenet_v2", {}),
    ):  # fmt: skip
        message = refusal(RegistryError, run_register, family, **options)
        assert message.startswith(f"no run of the family '{family}' in experiment 'poster-ml' can be ")
        assert message.endswith("train a variant of this family: `poster-ml train --model NAME --data DIR`")
    assert mlflow.MlflowClient().search_registered_models() == []
    assert run_register("cnn", allow_demo=True).alias == "champion"


def test_a_model_is_found_by_every_address_or_refused_with_what_an_address_is(write_run, tmp_path):
    run_id = write_run(0.6)
    version = register_run(run_id)
    logged = mlflow.search_logged_models(output_format="list")[0].model_id
    for uri in (f"runs:/{run_id}/model", f"models:/{logged}", version.uri, f"models:/{NAME}@champion"):
        network, settings = load_keras_model(uri)
        assert (network.output_shape, settings.family) == ((None, 1), "cnn")
    unknown = ("models:/poster-vgg61@champion", f"models:/{NAME}@challenger", f"models:/{NAME}/99")
    for uri in (*unknown, "runs:/none/model", f"runs:/{run_id}/other", str(tmp_path)):
        said = refusal(RegistryError, load_keras_model, uri)
        assert said.startswith("no model at ")
        assert uri in said
        assert ": give models:/NAME@ALIAS, " in said


def test_a_better_challenger_becomes_champion_and_can_be_rolled_back(write_run):
    none = "poster-cnn has no champion: run `poster-ml register --family cnn` first"
    assert refusal(RegistryError, run_roll_back, "cnn") == none
    first = write_run(0.6, 0.3)
    assert run_register("cnn").text() == f"poster-cnn version 1 (champion): run {first}, val_roc_auc 0.6000"
    assert "has had no champion before version 1" in refusal(RegistryError, run_roll_back, "cnn")
    second = write_run(0.9, 3.0)
    said = f"poster-cnn version 2 (challenger): run {second}, val_roc_auc 0.9000"
    assert run_register("cnn").text() == said
    assert run_register("cnn").text() == f"{said}, registered before"
    verdict = run_promote("cnn")
    assert verdict.promoted
    assert (verdict.champion, verdict.challenger, verdict.posters) == (1, 2, 300)
    assert 0 < verdict.low < verdict.difference < verdict.high
    assert verdict.p_value < 0.001
    assert (verdict.decision, verdict.level) == (1, pytest.approx(0.0125))
    assert aliases() == {"champion": 2, "previous_champion": 1}
    wanted = {"promotion_verdict": "promoted", "promotion_against": "1", "promotion_split": "test"}
    interval = f"{verdict.difference:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}]"
    assert tags(2).items() >= (wanted | {"promotion_auc_difference": interval}).items()
    assert verdict.text().startswith("poster-cnn version 2 is champion now; ROC AUC +0.")
    assert run_roll_back("cnn").text() == f"poster-cnn version 1 (champion): run {first}"
    assert aliases() == {"champion": 1, "challenger": 2}
    assert tags(2)["rolled_back_to"] == "1"


def test_a_challenger_that_is_worse_or_no_different_stays_one_and_each_decision_must_be_surer(write_run):
    write_run(0.6, 1.0)
    run_register("cnn")
    write_run(0.7, 1.0, on_validation=5.0)  # the posters that chose it have no say
    run_register("cnn")
    same = run_promote("cnn")
    assert not same.promoted
    assert same.low < 0 < same.high
    assert run_promote("cnn") == same, "deciding a pair again uses nothing up"
    write_run(0.8, -1.0)
    run_register("cnn")
    worse = run_promote("cnn")
    assert (worse.challenger, worse.promoted) == (3, False)
    assert worse.high < 0
    assert worse.p_value > 0.999, "one-sided: worse is never significant"
    assert (worse.decision, worse.level) == (2, pytest.approx(0.025 / 6))
    assert "stays challenger: not clearly better; ROC AUC -0." in worse.text()
    assert worse.text().endswith("(decision 2 on these posters: better below 0.0042)")
    assert aliases() == {"champion": 1, "challenger": 3}
    assert tags(3)["promotion_decision"] == "2"
    assert tags(3)["promotion_verdict"] == tags(2)["promotion_verdict"] == "not promoted"


def test_all_decisions_on_the_same_posters_together_err_in_2_5_percent_at_most():
    assert sum(decision_level(number) for number in range(1, 100_000)) == pytest.approx(0.025, rel=1e-4)


def test_what_cannot_be_compared_is_refused_with_what_to_do(write_run):
    champion = write_run(0.6)
    run_register("cnn")
    said = refusal(RegistryError, run_promote, "cnn")
    assert said.startswith("poster-cnn has no challenger: run `poster-ml register")
    write_run(0.7, 1.0)
    run_register("cnn")
    assert refusal(RegistryError, run_promote, "cnn") == (
        "version 1 of poster-cnn has no evaluation/test/predictions.csv in its run: "
        f"run `poster-ml evaluate --run {champion} --split test` first"
    )
    write_run(0.8, 1.0, tags={"dataset.fingerprint": "bbbb"})
    run_register("cnn")
    said = refusal(RegistryError, run_promote, "cnn")
    assert "trained on different datasets (aaaa, bbbb): train both on" in said
    assert aliases() == {"champion": 1, "challenger": 3}
