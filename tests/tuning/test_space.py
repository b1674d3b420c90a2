from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from poster_ml.config import ExperimentConfig, load_experiment, replace
from poster_ml.errors import ConfigError
from poster_ml.tuning.space import default_points, suggest
from poster_ml.tuning.space_file import load_space, parse_space, space_path

GOOD = {
    "variant": "basic_cnn",
    "fidelity": {"limit": 100, "epochs": 2, "promote": 2, "seeds": 2},
    "parameters": {
        "model.dropout": {"role": "scientific", "type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
        "model.unfreeze": {"role": "scientific", "type": "int", "low": 0, "high": 8},
        "model.filters": {
            "role": "scientific", "type": "filters", "blocks": [2, 4], "first": [8, 32], "growth": [1.0, 2.0],
        },
        "train.learning_rate": {"role": "nuisance", "type": "log", "low": "1e-5", "high": "1e-2"},
        "model.dense": {"role": "nuisance", "type": "categorical", "choices": [[], [128], [512, 512]]},
        "model.preprocessing": {"role": "fixed", "value": "unit"},
    },
}  # fmt: skip


def edited(key: str, **changes: object) -> dict[str, object]:
    parameters = {**GOOD["parameters"], key: {**GOOD["parameters"].get(key, {}), **changes}}  # type: ignore[dict-item]
    return {**GOOD, "parameters": parameters}


def test_what_is_drawn_fits_the_configuration() -> None:
    space = parse_space(GOOD, "good.yaml")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(30):
        overrides = suggest(study.ask(), space)
        config = replace(ExperimentConfig(), **overrides)
        seen.add((len(config.model.filters), config.model.dense))
        assert 0 <= config.model.dropout <= 0.5
        assert round(config.model.dropout * 10) == pytest.approx(config.model.dropout * 10)
        assert 1e-5 <= config.train.learning_rate <= 1e-2
        assert config.model.preprocessing == "unit"
    assert {count for count, _ in seen} == {2, 3, 4}
    assert {dense for _, dense in seen} == {(), (128,), (512, 512)}


def test_filters_grow_from_the_first_block_on() -> None:
    space = parse_space(GOOD, "good.yaml")
    drawn = {"model.filters.blocks": 3, "model.filters.first": 10, "model.filters.growth": 2.0}
    parameter = next(parameter for parameter in space.parameters if parameter.key == "model.filters")
    assert parameter.combine(drawn) == [10, 20, 40]
    assert [dimension.name for dimension in parameter.dimensions()] == list(drawn)


def test_roles_are_told_apart() -> None:
    space = parse_space(GOOD, "good.yaml")
    assert space.keys("scientific") == ("model.dropout", "model.unfreeze", "model.filters")
    assert space.keys("nuisance") == ("train.learning_rate", "model.dense")
    assert space.keys("fixed") == ("model.preprocessing",)


def test_own_settings_become_points_and_what_does_not_fit_is_left_to_the_sampler() -> None:
    space = parse_space(GOOD, "good.yaml")
    inside = replace(
        ExperimentConfig(),
        **{
            "model.filters": [16, 32, 64],
            "model.dense": [512, 512],
            "model.unfreeze": "none",
            "model.dropout": 0.3,
        },
    )
    outside = replace(
        inside, **{"model.unfreeze": ["block5"], "train.learning_rate": 1e-6, "model.dropout": 0.35}
    )
    first, second = default_points(space, inside, inside, outside)
    assert first == {
        "model.dropout": 0.3,
        "model.unfreeze": 0,
        "model.filters.blocks": 3,
        "model.filters.first": 16,
        "model.filters.growth": 2.0,
        "train.learning_rate": 1e-3,
        "model.dense": "512, 512",
    }
    assert set(first) - set(second) == {"model.dropout", "model.unfreeze", "train.learning_rate"}
    assert {key: first[key] for key in second} == second
    with_filters_of_the_study = replace(inside, **{"model.filters": [16, 64, 128]})
    (point,) = default_points(space, with_filters_of_the_study)
    assert not any(name.startswith("model.filters") for name in point)


def test_an_experiment_without_augmentation_is_strength_zero() -> None:
    entry = {"role": "scientific", "type": "float", "low": 0.0, "high": 1.0}
    space = parse_space({"variant": "x", "parameters": {"augment.strength": entry}}, "")
    plain = ExperimentConfig()
    turned = replace(plain, **{"augment.rotation": 5.0, "augment.strength": 0.5})
    assert default_points(space, plain, turned) == [{"augment.strength": 0.0}, {"augment.strength": 0.5}]


def test_all_faults_are_told_at_once() -> None:
    broken = {
        "variant": 3,
        "fidelty": {},
        "fidelity": {"limit": -1},
        "parameters": {
            "model.dropot": {"role": "scientific", "type": "float", "low": 0, "high": 1},
            "model.dropout": {"role": "scientific", "type": "float", "low": 0.0, "high": 1.5},
            "train.epochs": {"role": "science", "type": "int", "low": 1, "high": 2},
            "train.learning_rate": {"role": "nuisance", "type": "log", "low": 0, "high": 1e-3},
            "model.dense": {"role": "nuisance", "type": "categorical", "choices": [[1]]},
            "train.batch_size": {"role": "fixed"},
            "augment.strength": {"role": "nuisance", "type": "float", "low": 0.9, "high": 0.1},
        },
    }
    with pytest.raises(ConfigError) as caught:
        parse_space(broken, "broken.yaml")
    assert caught.value.source == "broken.yaml"
    assert caught.value.faults == (
        "fidelty is no known key (did you mean 'fidelity'?): use fidelity, parameters, variant",
        "model.dropot is no known key (did you mean 'model.dropout'?)",
        "model.dropout must be between 0 and 0.95, got 1.5",
        "train.epochs.role must be one of scientific, nuisance, fixed, got 'science' (did you mean 'scientific'?)",
        "train.learning_rate must be between 1e-09 and 10, got 0.0",
        "train.learning_rate: a log range must begin above 0, got 0.0",
        "model.dense.choices must be a list of at least two, got [[1]]",
        "train.batch_size is fixed and needs a value",
        "augment.strength: low must be below high, got 0.9 and 0.1",
        "fidelity.limit must be a whole number, at least 0, got -1",
        "variant must be a text, got 3",
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"type": "floot"}, "model.dropout.type must be one of float, log, int, log_int, categorical, filters, got "
         "'floot' (did you mean 'float'?)"),
        ({"choices": [1, 2]}, "model.dropout.choices is no known key: use high, low, role, step, type"),
        ({"high": "much"}, "model.dropout.high must be a number, got 'much'"),
        ({"step": -1}, "model.dropout.step must be above 0, got -1"),
    ],
)  # fmt: skip
def test_one_fault_in_a_parameter(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_space(edited("model.dropout", **changes), "")
    assert caught.value.faults == (fault,)


def test_a_space_with_nothing_to_search_is_refused() -> None:
    only_fixed = {"variant": "x", "parameters": {"model.dropout": {"role": "fixed", "value": 0.1}}}
    with pytest.raises(
        ConfigError, match="every parameter is fixed: give at least one the role scientific or nuisance"
    ):
        parse_space(only_fixed, "")
    with pytest.raises(ConfigError, match="parameters must name at least one configuration key"):
        parse_space({"variant": "x", "parameters": {}}, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: write a search space, or get the file again"),
        (b"\n\n", "is empty: write a search space, or get the file again"),
        (b"variant: basic_cnn\nparameters:\n  train.learning_rate: {role: scien", "is not YAML: "),
        (b"variant: basic_cnn\nparam", "is not YAML: "),
        (b"variant: basic_cnn\n", "parameters must name at least one configuration key"),
        (b"\x89HDF\r\n\x1a\n\x00\xff", "is not YAML: "),
        (b"variant: \x00\x00\x00", "is not YAML: "),
        (
            b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n",
            "expected keys and values at the top level",
        ),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_space(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert said in message
    assert "\n" not in message


def test_the_fingerprint_changes_with_what_trials_have_in_common_only() -> None:
    same = parse_space(GOOD, "a").fingerprint()
    assert parse_space({**GOOD, "fidelity": {**GOOD["fidelity"], "promote": 5}}, "b").fingerprint() == same  # type: ignore[dict-item]
    assert parse_space({**GOOD, "fidelity": {**GOOD["fidelity"], "limit": 5}}, "b").fingerprint() != same  # type: ignore[dict-item]
    assert parse_space(edited("model.dropout", high=0.4), "b").fingerprint() != same


def test_an_unknown_variant_names_those_with_a_space(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(ConfigError) as caught:
        space_path("mobilenet")
    text = str(caught.value)
    assert text.startswith(
        "no search space for model 'mobilenet' (did you mean 'mobilenet_v2'?): choose one of augmented_cnn,"
    )


def test_every_space_of_the_project_fits_its_experiment(project: Path) -> None:
    files = sorted((project / "experiments" / "tune").glob("*.yaml"))
    assert len(files) == 9
    for file in files:
        first, *_ = file.read_text().splitlines()
        assert first == f"# poster-ml tune --model {file.stem} --trials 30 --workers 2"
        space = load_space(file)
        assert space.variant == file.stem
        config = load_experiment(project / "experiments" / f"{file.stem}.yaml")
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        trial = replace(config, **suggest(study.ask(), space))
        if "augment.strength" in space.keys("scientific"):
            trial = replace(trial, **{"augment.strength": 1.0})
            assert trial.augment.active, f"{file.stem}: the strength multiplies ranges that are all 0"
        assert default_points(space, config), f"{file.stem}: none of its own settings lies in its space"
        assert len(space.keys("scientific")) >= 1
