"""Configurations: what is read, what is refused, and that all faults are told at once."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poster_ml.config import (
    ExperimentConfig,
    flatten,
    load_experiment,
    replace,
    with_overrides,
)
from poster_ml.errors import ConfigError
from tests.programs import run_python
from tests.refusals import refusal


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def test_defaults_fill_what_the_file_leaves_out_and_the_last_override_wins(tmp_path):
    assert load_experiment(write(tmp_path, "")) == ExperimentConfig()
    path = write(tmp_path, "variant: mine\ntrain:\n  epochs: 3\n  learning_rate: 1e-4\n")
    config = load_experiment(path, ("train.epochs=4", "train.epochs=5", "model.dense=[8, 4]"))
    assert (config.variant, config.train.epochs, config.model.dense) == ("mine", 5, (8, 4))
    assert config.train.learning_rate == 1e-4, "YAML 1.1 reads an exponent without a dot as text"
    assert config.train.batch_size == ExperimentConfig().train.batch_size


def test_every_fault_is_reported_at_once_with_its_place_and_the_nearest_name(tmp_path):
    path = write(
        tmp_path, "varient: x\ntrain:\n  epochs: many\n  learning_rate: -1\nmodel:\n  family: vg16\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, ("train.dropout=0.5", "broken", "train.monitor=val_acu", "x.y=1"))
    assert caught.value.faults == (
        "--set 'broken': expected key=value, for example train.epochs=3",
        f"{path}: model.family: received 'vg16', allowed: 'cnn', 'vgg16', 'inception_v3', "
        "'inception_resnet_v2', 'mobilenet_v2' or 'ensemble' (did you mean 'vgg16'?)",
        f"{path}: train.epochs: received 'many', allowed: a whole number",
        f"{path}: train.learning_rate: received -1, allowed: greater than or equal to 0.000000001",
        "--set train.monitor=val_acu: train.monitor: received 'val_acu', allowed: 'val_auc', 'val_loss', "
        "'val_accuracy', 'accuracy', 'loss' or 'auc' (did you mean 'val_auc'?)",
        "--set train.dropout=0.5: train.dropout: unknown key (did you mean 'model.dropout'?)",
        f"{path}: varient: unknown key (did you mean 'variant'?)",
        f"{path} with --set x.y=1: x: unknown key",
    )


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.epochs=2.5", "train.epochs: received 2.5, allowed: a whole number"),
        ("train.epochs=true", "train.epochs: received True, allowed: a whole number"),
        ("train.learning_rate='8'", "train.learning_rate: received '8', allowed: a number"),
        ("train.learning_rate=1e999", "train.learning_rate: received '1e999', allowed: a finite number"),
        ("train.epochs=2020-13-45", "train.epochs: received '2020-13-45', allowed: a whole number"),
        pytest.param("train.epochs=" + "[" * 5000, "train.epochs: received '[[[", id="nested too deep"),
        ("train.keep_best=1", "train.keep_best: received 1, allowed: true or false"),
        ("train.precision=", "train.precision: received None, allowed: 'auto', 'float32'"),
        ("model.dense=512", "model.dense: received 512, allowed: a list"),
        ("model.dense=[8, true]", "model.dense: received [8, True], allowed: a whole number"),
        (
            "model.unfreeze=-1",
            "model.unfreeze: received -1, allowed: text or greater than or equal to 0 or a list",
        ),
        ("train=3", "train: received 3, allowed: a section with keys"),
        ("variant.name=3", "variant.name: 'variant' is a value, not a section"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, override, fault):
    path = write(tmp_path, "variant: mine\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, (override,))
    assert str(caught.value).startswith(f"--set {override}: {fault}")
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("model.pooling=flatten", "feature_layers (mixed5) need pooling average or average_maximum, received flatten"),
        ("model.family=cnn", "family cnn has no backbone, received feature_layers: mixed5; leave them empty"),
        ("model.feature_layers=[mixed5, mixed5]",
         "every layer can be named once, received feature_layers: mixed5, mixed5"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused_with_both_places(tmp_path, override, fault):
    path = write(tmp_path, "model: {family: inception_v3, pooling: average, feature_layers: [mixed5]}\n")
    said = refusal(ConfigError, load_experiment, path, (override,))
    assert said == f"{path} with --set {override}: model: {fault}"


def test_a_finished_configuration_takes_the_overrides_that_are_allowed():
    allowed = ("evaluate.bootstrap", "evaluate.threshold")
    changed = with_overrides(ExperimentConfig(), ["evaluate.bootstrap=200"], allowed)
    assert changed == replace(ExperimentConfig(), **{"evaluate.bootstrap": 200})
    wrong = ["train.epochs=3", "broken", "evaluate.bootstrap=1"]
    with pytest.raises(ConfigError) as caught:
        with_overrides(ExperimentConfig(), wrong, allowed)
    assert caught.value.faults == (
        f"--set train.epochs=3: 'train.epochs' cannot be set here: choose of {', '.join(allowed)}",
        "--set 'broken': expected key=value, for example train.epochs=3",
        "--set evaluate.bootstrap=1: evaluate.bootstrap: received 1, allowed: greater than or equal to 100",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"cannot read .*: No such file"),
        ("a: " + "[" * 5000, "is not YAML"),
        ("- 1\n", "received a list, allowed: keys and values"),
        ("train:\n  epochs: 3\n  epochs: 4\n", r"received twice: epochs in .*line 2"),
    ],
)
def test_a_file_that_is_missing_no_yaml_or_says_a_key_twice_is_refused(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        load_experiment(write(tmp_path, text) if text else tmp_path / "no.yaml")


def test_reading_an_experiment_imports_no_heavy_library():
    code = (
        "import sys; from pathlib import Path; from poster_ml.config import load_experiment\n"
        "from poster_ml.search_space import load_space\n"
        "load_experiment(Path('experiments/vgg16.yaml')); load_space(Path('experiments/tune/vgg16.yaml'))\n"
        "print({'keras', 'tensorflow', 'mlflow', 'optuna', 'pandas'} & set(sys.modules))"
    )
    assert run_python("-c", code).stdout.strip() == "set()"


def test_augmentation_without_ranges_or_strength_is_inactive():
    plain = ExperimentConfig()
    assert not plain.augment.active
    assert replace(plain, **{"augment.rotation": 5}).augment.active
    assert not replace(plain, **{"augment.rotation": 5, "augment.strength": 0}).augment.active


WRONG = [{}, {"a": 1}, None, float("nan"), float("-inf"), [[]], [None], -1.5, -(10**30)]


@given(st.sampled_from(sorted(flatten(ExperimentConfig()))), st.sampled_from(WRONG))
@settings(deadline=None, max_examples=150)
def test_one_wrong_value_is_named_with_its_key_and_nothing_else_is(key, value):
    with pytest.raises(ConfigError) as caught:
        replace(ExperimentConfig(), **{key: value})
    (fault,) = caught.value.faults
    assert fault.startswith(f"{key}: received {value!r}, allowed: ")


@given(st.sampled_from(sorted(flatten(ExperimentConfig()))), st.sampled_from("xyz"))
@settings(deadline=None, max_examples=60)
def test_one_mistyped_key_is_named_and_the_right_one_is_proposed(key, letter):
    wrong = f"{key}{letter}"
    said = refusal(ConfigError, replace, ExperimentConfig(), **{wrong: 1})
    assert said == f"{wrong}: unknown key (did you mean {key!r}?)"
