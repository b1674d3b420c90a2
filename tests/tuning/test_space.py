import optuna
import pytest

from poster_ml.config import ExperimentConfig, load_experiment, replace
from poster_ml.errors import ConfigError
from poster_ml.search_space import load_space, parse_space, space_path
from poster_ml.tuning.space import default_points, dimensions_of, overrides, suggest

GOOD = {
    "variant": "basic_cnn",
    "fidelity": {"max_samples": 100, "epochs": 2, "promote": 2, "seeds": 2},
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
    parameters = {**GOOD["parameters"], key: {**GOOD["parameters"].get(key, {}), **changes}}
    return {**GOOD, "parameters": parameters}


def only(key: str, entry: object) -> dict[str, object]:
    return {"variant": "x", "parameters": {key: entry}}


def test_what_is_drawn_fits_the_configuration():
    space = parse_space(GOOD, "good.yaml")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(30):
        config = replace(ExperimentConfig(), **suggest(study.ask(), space))
        seen.add((len(config.model.filters), config.model.dense))
        assert 0 <= config.model.dropout <= 0.5
        assert round(config.model.dropout * 10) == pytest.approx(config.model.dropout * 10)
        assert 1e-5 <= config.train.learning_rate <= 1e-2
        assert config.model.preprocessing == "unit"
    assert {count for count, _ in seen} == {2, 3, 4}
    assert {dense for _, dense in seen} == {(), (128,), (512, 512)}


def test_filters_grow_from_the_first_block_on():
    space = parse_space(only("model.filters", GOOD["parameters"]["model.filters"]), "")
    drawn = {"model.filters.blocks": 3, "model.filters.first": 10, "model.filters.growth": 2.0}
    assert overrides(space, drawn) == {"model.filters": [10, 20, 40]}
    assert list(dimensions_of(space)) == list(drawn)


def test_own_settings_become_points_and_what_does_not_fit_is_left_to_the_sampler():
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


def test_an_experiment_without_augmentation_is_strength_zero():
    entry = {"role": "scientific", "type": "float", "low": 0.0, "high": 1.0}
    space = parse_space(only("augment.strength", entry), "")
    plain = ExperimentConfig()
    turned = replace(plain, **{"augment.rotation": 5.0, "augment.strength": 0.5})
    assert default_points(space, plain, turned) == [{"augment.strength": 0.0}, {"augment.strength": 0.5}]


def test_all_faults_are_told_at_once():
    broken = {
        "variant": 3,
        "fidelty": {},
        "fidelity": {"max_samples": -1},
        "parameters": {
            "model.dropot": {"role": "scientific", "type": "float", "low": 0, "high": 1},
            "model.dropout": {"role": "scientific", "type": "float", "low": 0.0, "high": 1.5},
            "train.epochs": {"role": "science", "type": "int", "low": 1, "high": 2},
            "train.learning_rate": {"role": "nuisance", "type": "log", "low": 0, "high": 1e-3},
            "model.dense": {"role": "nuisance", "type": "categorical", "choices": [[1]]},
            "train.batch_size": {"role": "fixed"},
            "augment.strength": {"role": "nuisance", "type": "float", "low": 0.9, "high": 0.1},
            "train.patience": {"role": "nuisance", "type": "float", "low": 1, "high": 4},
            "model.pooling": {"role": "nuisance", "type": "categorical", "choices": ["average", "max"]},
            "model.filters": {
                "role": "nuisance",
                "type": "filters",
                "blocks": [3, 3],
                "first": [1, 2],
                "growth": [1, 2],
            },
        },
    }
    with pytest.raises(ConfigError) as caught:
        parse_space(broken, "broken.yaml")
    assert caught.value.source == "broken.yaml"
    assert caught.value.faults == (
        "variant: received 3, allowed: text",
        "parameters.train.epochs.role: received 'science', allowed: 'fixed', 'scientific', 'nuisance' "
        "(did you mean 'scientific'?)",
        "parameters.train.learning_rate: a log range must begin above 0, received 0.0",
        "parameters.model.dense.choices: received [[1]], allowed: a length of at least 2",
        "parameters.train.batch_size.value: received nothing, allowed: a value",
        "parameters.augment.strength: low must be below high, received 0.9 and 0.1",
        "parameters.model.filters: blocks must be two rising numbers, received [3, 3]",
        "fidelity.max_samples: received -1, allowed: greater than or equal to 0",
        "fidelty: unknown key (did you mean 'fidelity'?)",
        "parameters.model.dropot: unknown key (did you mean 'model.dropout'?)",
        "parameters.model.dropout: received 1.5, allowed: less than or equal to 0.95",
        "parameters.train.learning_rate: received 0.0, allowed: greater than or equal to 0.000000001",
        "parameters.train.patience: received 1.0, allowed: a whole number",
        "parameters.train.patience: received 4.0, allowed: a whole number",
        "parameters.model.pooling: received 'max', allowed: 'flatten', 'average' or 'average_maximum'",
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"type": "floot"}, "parameters.model.dropout.type: received 'floot', allowed: 'float', 'log', 'int', "
         "'log_int', 'categorical', 'filters' (did you mean 'float'?)"),
        ({"choices": [1, 2]}, "parameters.model.dropout.choices: unknown key"),
        ({"stepp": 1}, "parameters.model.dropout.stepp: unknown key (did you mean 'step'?)"),
        ({"high": "much"}, "parameters.model.dropout.high: received 'much', allowed: a number"),
        ({"high": True}, "parameters.model.dropout.high: received True, allowed: a number"),
        ({"step": -1}, "parameters.model.dropout: step must be above 0, and left out on a log scale, received -1.0"),
        ({"type": "log", "low": 0.1}, "parameters.model.dropout: step must be above 0, and left out on a log "
         "scale, received 0.1"),
        ({"type": "int", "low": 0, "high": 0.5, "step": 1}, "parameters.model.dropout: a range of type int needs "
         "whole numbers as low, high and step"),
    ],
)  # fmt: skip
def test_one_fault_in_a_parameter(changes, fault):
    with pytest.raises(ConfigError) as caught:
        parse_space(edited("model.dropout", **changes), "")
    assert caught.value.faults == (fault,)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (only("model.dropout", {"role": "fixed", "value": 0.1}), "every parameter is fixed: give at least one "
         "the role scientific or nuisance"),
        ({"variant": "x", "parameters": {}}, r"parameters: received \{\}, allowed: a length of at least 1"),
        (edited("model.dense", choices=[[8], [4], [8]]), r"model\.dense: choices must differ, received "
         r"\[\[8\], \[4\], \[8\]\]"),
        (only("model.dropout", GOOD["parameters"]["model.filters"]), r"model\.dropout: received \[8, 32\], "
         "allowed: a number"),
        ({"variant": "x", "parameters": 3}, "parameters: received 3, allowed: a section with keys"),
        ([1], "allowed: a section with keys"),
        (None, "allowed: a section with keys"),
        ("x", "allowed: a section with keys"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(values, fault):
    with pytest.raises(ConfigError, match=fault):
        parse_space(values, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: write a search space, or get the file again"),
        (b"variant: basic_cnn\nparameters:\n  train.learning_rate: {role: scien", "is not YAML: "),
        (b"variant: basic_cnn\n", "parameters: received nothing"),
        (b"\x89HDF\r\n\x1a\n\x00\xff", "is not YAML: "),
        (
            b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n",
            "received a str, allowed: keys and values",
        ),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, content, said):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_space(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert said in message
    assert "\n" not in message


def test_the_fingerprint_changes_with_what_trials_have_in_common_only():
    same = parse_space(GOOD, "a").fingerprint()
    assert parse_space({**GOOD, "fidelity": {**GOOD["fidelity"], "promote": 5}}, "b").fingerprint() == same
    assert (
        parse_space({**GOOD, "fidelity": {**GOOD["fidelity"], "max_samples": 5}}, "b").fingerprint() != same
    )
    assert parse_space(edited("model.dropout", high=0.4), "b").fingerprint() != same


def test_an_unknown_variant_names_those_with_a_space(project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(ConfigError) as caught:
        space_path("mobilenet")
    text = str(caught.value)
    assert text.startswith(
        "no search space for model 'mobilenet' (did you mean 'mobilenet_v2'?): choose one of augmented_cnn,"
    )


def test_every_space_of_the_project_fits_its_experiment(project):
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
        searched = [key for key, parameter in space.parameters.items() if parameter.role == "scientific"]
        assert searched
        if "augment.strength" in searched:
            trial = replace(trial, **{"augment.strength": 1.0})
            assert trial.augment.active, f"{file.stem}: the strength multiplies ranges that are all 0"
        assert default_points(space, config), f"{file.stem}: none of its own settings lies in its space"
