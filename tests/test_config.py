"""Configurations: what is read, what is refused, and that all faults are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from poster_ml.config import (
    ExperimentConfig,
    experiment_path,
    flatten,
    from_mapping,
    load_experiment,
    replace,
    to_mapping,
    to_yaml,
)
from poster_ml.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def test_defaults_fill_what_the_file_leaves_out(tmp_path):
    config = load_experiment(write(tmp_path, "variant: mine\ntrain:\n  epochs: 3\n"))
    assert config.variant == "mine"
    assert config.train.epochs == 3
    assert config.train.batch_size == ExperimentConfig().train.batch_size


def test_an_empty_file_is_the_default_experiment(tmp_path):
    assert load_experiment(write(tmp_path, "")) == ExperimentConfig()


def test_yaml_reads_an_exponent_without_a_dot_as_text_and_it_still_becomes_a_number(tmp_path):
    config = load_experiment(write(tmp_path, "train:\n  learning_rate: 1e-4\n"))
    assert config.train.learning_rate == 1e-4


def test_overrides_win_and_later_ones_win_over_earlier_ones(tmp_path):
    path = write(tmp_path, "train:\n  epochs: 3\n")
    config = load_experiment(path, ("train.epochs=4", "train.epochs=5", "model.dense=[8, 4]"))
    assert config.train.epochs == 5
    assert config.model.dense == (8, 4)


@pytest.mark.parametrize(
    ("text", "value"),
    [("none", "none"), ("all", "all"), ("6", 6), ("[block4, block5]", ("block4", "block5"))],
)
def test_unfreeze_takes_a_word_a_depth_or_a_list(tmp_path, text, value):
    assert load_experiment(write(tmp_path, f"model:\n  unfreeze: {text}\n")).model.unfreeze == value


def test_every_fault_is_reported_at_once_with_its_file_and_the_nearest_name(tmp_path):
    path = write(
        tmp_path, "varient: x\ntrain:\n  epochs: many\n  learning_rate: -1\nmodel:\n  family: vg16\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, ("train.dropout=0.5", "broken"))
    assert caught.value.faults == (
        f"{path}: varient is no known key (did you mean 'variant'?)",
        f"{path}: train.epochs must be a whole number, got 'many'",
        f"{path}: train.learning_rate must be between 1e-09 and 10, got -1",
        "--set train.dropout=0.5: train.dropout is no known key (did you mean 'model.dropout'?)",
        f"{path}: model.family must be one of cnn, vgg16, inception_v3, inception_resnet_v2, mobilenet_v2, "
        "got 'vg16' (did you mean 'vgg16'?)",
        "--set 'broken': expected key=value, for example train.epochs=3",
    )


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.epochs=0", "must be between 1 and 10000, got 0"),
        ("train.epochs=2.5", "must be a whole number, got 2.5"),
        ("train.epochs=true", "must be a whole number, got True"),
        ("train.learning_rate=.nan", "must be between 1e-09 and 10, got nan"),
        ("train.clip_norm=.inf", "must be at least 0, got inf"),
        ("model.dense=[1000000]", "must be between 1 and 65536, got [1000000]"),
        ("train.epochs=2020-13-45", "must be a whole number, got '2020-13-45'"),
        ("train.keep_best=1", "must be true or false, got 1"),
        ("model.dense=512", "must be a list of whole numbers, got 512"),
        ("model.dense=[512, 0]", "must be between 1 and 65536, got [512, 0]"),
        ("model.unfreeze=-1", "must be at least 0, got -1"),
        ("train=3", "train must be a section with keys, got 3"),
        ("variant.name=3", "'variant' is a value, not a section"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, override, fault):
    path = write(tmp_path, "variant: mine\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, (override,))
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_file_that_is_no_yaml_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*no\.yaml: No such file"):
        load_experiment(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_experiment(write(tmp_path, "a: [1\n"))
    with pytest.raises(ConfigError, match="expected keys and values at the top level, got a list"):
        load_experiment(write(tmp_path, "- 1\n"))


def test_an_unknown_variant_names_the_nearest(project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(
        ConfigError, match=r"unknown model 'vgg6' \(did you mean 'vgg16'\?\): choose one of aug"
    ):
        experiment_path("vgg6")


def test_what_is_written_is_read_back_equal(tmp_path):
    config = replace(
        ExperimentConfig(), **{"model.unfreeze": ["block4"], "train.epochs": 7, "model.dense": []}
    )
    assert load_experiment(write(tmp_path, to_yaml(config))) == config
    assert from_mapping(to_mapping(config), "") == config


def test_flat_names_are_dotted_and_lists_become_text():
    flat = flatten(replace(ExperimentConfig(), **{"model.filters": [1, 2]}))
    assert flat["model.filters"] == "1,2"
    assert flat["train.epochs"] == 15
    assert flat["variant"] == "basic_cnn"


def test_a_study_overrides_nothing_that_it_does_not_name():
    with pytest.raises(ConfigError, match=r"train\.epoch is no known key \(did you mean 'train\.epochs'\?\)"):
        replace(ExperimentConfig(), **{"train.epoch": 3})


def test_augmentation_without_ranges_or_strength_is_inactive():
    plain = ExperimentConfig()
    assert not plain.augment.active
    assert replace(plain, **{"augment.rotation": 5}).augment.active
    assert not replace(plain, **{"augment.rotation": 5, "augment.strength": 0}).augment.active
