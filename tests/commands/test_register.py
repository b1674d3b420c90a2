"""Register, promote, roll back: through the commands, in a store of each test's own."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints while it is imported
    import mlflow
    import mlflow.pyfunc

from poster_ml.commands.promote import run_promote, run_roll_back
from poster_ml.commands.register import run_register
from poster_ml.errors import EvaluationError, RegistryError
from poster_ml.serving.promotion import decide, decision_level

NAME = "poster-cnn"
LABELS = np.random.default_rng(5).integers(0, 2, 300)


@pytest.fixture
def write_run(tmp_path, mlflow_store):
    """A function that writes a finished run with a model and predictions that separate the labels by `strength`.

    `on_validation` separates those of the validation posters, which must have no say.
    """
    import keras

    from poster_ml.serving.log import log_poster_model

    inputs = keras.Input((32, 32, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(1)(pooled))

    def write(score, strength, *, labels=LABELS, fingerprint="aaaa", predictions=True, on_validation=0.0):
        noise = np.random.default_rng(int(score * 1000)).normal(size=len(labels))
        table = pd.DataFrame(
            {"movie_id": [f"tt{number:04d}" for number in range(len(labels))], "label": labels}
        )
        with mlflow.start_run() as run:
            mlflow.log_param("model.family", "cnn")
            mlflow.set_tags({"variant": "basic_cnn", "dataset.fingerprint": fingerprint, "profile": "full"})
            mlflow.log_metric("val_roc_auc", score)
            for split, signal in {"val": on_validation, "test": strength}.items() if predictions else ():
                table["probability"] = 1 / (1 + np.exp(-(signal * (labels - 0.5) + noise)))
                table.to_csv(tmp_path / "predictions.csv", index=False)
                mlflow.log_artifact(str(tmp_path / "predictions.csv"), f"evaluation/{split}")
            log_poster_model(network, size=32, variant="basic_cnn", family="cnn")
        return run.info.run_id

    return write


def aliases():
    return {
        key: int(value) for key, value in mlflow.MlflowClient().get_registered_model(NAME).aliases.items()
    }


def tags(number):
    return mlflow.MlflowClient().get_model_version(NAME, str(number)).tags


def test_a_better_challenger_becomes_champion_and_can_be_rolled_back(write_run):
    first = write_run(0.6, 0.3)
    assert run_register("cnn").text() == f"poster-cnn version 1 (champion): run {first}, val_roc_auc 0.6000"
    second = write_run(0.9, 3.0)
    assert (
        run_register("cnn").text() == f"poster-cnn version 2 (challenger): run {second}, val_roc_auc 0.9000"
    )
    assert run_register("cnn").text().endswith("0.9000, registered before")
    verdict = run_promote("cnn")
    assert verdict.promoted
    assert (verdict.champion, verdict.challenger, verdict.posters) == (1, 2, 300)
    assert 0 < verdict.low < verdict.difference < verdict.high
    assert verdict.p_value < 0.001
    assert (verdict.decision, verdict.level) == (1, pytest.approx(0.0125))
    assert aliases() == {"champion": 2, "previous_champion": 1}
    assert tags(2)["promotion_verdict"] == "promoted"
    assert (tags(2)["promotion_against"], tags(2)["promotion_split"]) == ("1", "test")
    assert (tags(1)["chosen_among"], tags(2)["chosen_among"]) == ("1", "2")
    assert tags(2)["promotion_auc_difference"] == (
        f"{verdict.difference:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}]"
    )
    assert verdict.text().startswith("poster-cnn version 2 is champion now; ROC AUC +0.")
    assert run_roll_back("cnn").text() == f"poster-cnn version 1 (champion): run {first}"
    assert aliases() == {"champion": 1, "challenger": 2}


def test_a_challenger_that_is_worse_or_no_different_stays_one(write_run):
    write_run(0.6, 1.0)
    run_register("cnn")
    write_run(0.7, 1.0, on_validation=5.0)  # the posters that chose it have no say
    run_register("cnn")
    same = run_promote("cnn")
    assert not same.promoted
    assert same.low < 0 < same.high
    write_run(0.8, -1.0)
    run_register("cnn")
    worse = run_promote("cnn")
    assert (worse.challenger, worse.promoted) == (3, False)
    assert worse.high < 0
    assert worse.p_value > 0.999, "one-sided: worse is never significant"
    assert "stays challenger: not clearly better; ROC AUC -0." in worse.text()
    assert aliases() == {"champion": 1, "challenger": 3}
    assert tags(3)["promotion_verdict"] == tags(2)["promotion_verdict"] == "not promoted"


def test_every_further_decision_on_the_same_posters_must_be_surer_and_repeating_one_uses_nothing_up(
    write_run,
):
    write_run(0.6, 1.0)
    run_register("cnn")
    write_run(0.7, 1.0)
    run_register("cnn")
    first = run_promote("cnn")
    assert run_promote("cnn") == first
    assert (first.challenger, first.decision) == (2, 1)
    write_run(0.9, 1.0)
    run_register("cnn")
    second = run_promote("cnn")
    assert (second.decision, second.level) == (2, pytest.approx(0.025 / 6))
    assert tags(second.challenger)["promotion_decision"] == "2"
    assert second.text().endswith("(decision 2 on these posters: better below 0.0042)")


def test_all_decisions_on_the_same_posters_together_err_in_2_5_percent_at_most():
    assert sum(decision_level(number) for number in range(1, 100_000)) == pytest.approx(0.025, rel=1e-4)


def test_the_interval_says_what_the_verdict_says():
    random = np.random.default_rng(0)
    seen = set()
    for gain in np.linspace(0.0, 0.6, 40):
        first, second = random.normal(size=(2, 300)) + LABELS
        level = 0.0125
        difference, p_value = decide(LABELS, first + gain * LABELS, second, level)
        assert (difference.low > 0) == (p_value < level)
        seen.add(p_value < level)
    assert seen == {True, False}


def test_what_lacks_is_named_with_the_command(write_run):
    champion = write_run(0.6, 1.0, predictions=False)
    run_register("cnn")
    with pytest.raises(RegistryError) as caught:
        run_promote("cnn")
    assert str(caught.value) == ("poster-cnn has no challenger: run `poster-ml register --family cnn` first")
    write_run(0.7, 1.0)
    run_register("cnn")
    with pytest.raises(RegistryError) as caught:
        run_promote("cnn")
    assert str(caught.value) == (
        "version 1 of poster-cnn has no evaluation/test/predictions.csv in its run: "
        f"run `poster-ml evaluate --run {champion} --split test` first"
    )
    assert aliases() == {"champion": 1, "challenger": 2}


def test_other_data_or_other_labels_are_not_compared(write_run):
    write_run(0.6, 1.0)
    run_register("cnn")
    write_run(0.7, 1.0, fingerprint="bbbb")
    run_register("cnn")
    with pytest.raises(RegistryError, match=r"trained on different datasets \(aaaa, bbbb\): train both on"):
        run_promote("cnn")
    write_run(0.8, 1.0, labels=1 - LABELS)
    run_register("cnn", dataset="aaaa")
    with pytest.raises(EvaluationError, match="300 posters have other labels"):
        run_promote("cnn")
    assert aliases() == {"champion": 1, "challenger": 3}
