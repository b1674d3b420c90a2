"""MLproject: every entry point calls a command, and every declared parameter reaches it."""

import re
import tomllib

import pytest
import typer
import yaml

from poster_ml import cli
from poster_ml.cli.options import collect_overrides, path_or_none, split_names
from poster_ml.config import REPOSITORY

ENTRY_POINTS = yaml.safe_load((REPOSITORY / "MLproject").read_text())["entry_points"]
COMMANDS = typer.main.get_command(cli.app).commands


def test_the_entry_points_of_the_interface_are_there():
    assert set(ENTRY_POINTS) == {"main", "preprocess", "train", "tune", "evaluate", "suite"}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_entry_point_calls_a_command_and_passes_every_typed_parameter_under_its_own_name(name):
    command, parameters = ENTRY_POINTS[name]["command"], ENTRY_POINTS[name]["parameters"]
    passed = dict(re.findall(r"--([a-z-]+) \{(\w+)\}", command))
    assert set(passed.values()) == set(parameters)
    assert all(option.replace("-", "_") == parameter for option, parameter in passed.items())
    word = command.split("poster_ml ")[1].split()[0]
    assert word == {"main": "demo"}.get(name, name)
    known = {option for parameter in COMMANDS[word].params for option in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", command)) <= known
    assert {parameter["type"] for parameter in parameters.values()} <= {"string", "float"}


def test_an_empty_text_means_not_given():
    assert path_or_none("") is None
    assert collect_overrides([""], weights="", epochs=0, limit=0, precision="") == []
    assert split_names([""]) == []


def test_conda_yaml_lists_what_pyproject_needs_in_the_versions_of_the_lock():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[><=\[ ]", text)[0] for text in project["dependencies"]}
    conda = yaml.safe_load((REPOSITORY / "conda.yaml").read_text())["dependencies"]
    pinned = dict(text.split("==") for text in conda[-1]["pip"])
    assert set(pinned) == needed
    lock = (REPOSITORY / "requirements.lock").read_text()
    assert all(f"\n{name}=={version} " in f"\n{lock}" for name, version in pinned.items())


def test_the_lock_has_hashes_and_names_no_index():
    lock = (REPOSITORY / "requirements.lock").read_text()
    requirements = re.findall(r"^[a-z0-9].*==.*$", lock, re.MULTILINE)
    assert len(requirements) > 100
    assert all(line.rstrip().endswith("\\") for line in requirements)
    assert "://" not in lock
