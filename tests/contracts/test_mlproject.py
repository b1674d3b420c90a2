"""MLproject: every entry point calls a command, and every declared parameter reaches it."""

import re

import pytest
import typer
import yaml

from poster_ml import cli
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


def test_the_lock_has_hashes_and_names_no_index():
    lock = (REPOSITORY / "requirements.lock").read_text()
    requirements = re.findall(r"^[a-z0-9].*==.*$", lock, re.MULTILINE)
    assert len(requirements) > 100
    assert all(line.rstrip().endswith("\\") for line in requirements)
    assert "://" not in lock
