import os

import pytest

from poster_ml.commands.doctor import run_doctor
from poster_ml.data.reading import PreparedDataset


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """An empty folder to work in, without weights, on a machine that nobody else uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    return tmp_path


def test_an_empty_folder_is_told_what_is_missing(empty_folder):
    found = run_doctor()
    assert found.facts["dataset"] == "none at data/prepared"
    assert found.facts["ImageNet weights"] == f"none in {empty_folder / 'keras' / 'models'}"
    assert any(
        line.startswith("no dataset at data/prepared: call `poster-ml preprocess") for line in found.advice
    )
    assert any(line.startswith("no ImageNet weights yet for vgg16, ") for line in found.advice)
    assert not any("busy" in line for line in found.advice)
    assert found.text().splitlines()[-1] == f"to fix: {found.advice[-1]}"


def test_weights_and_dataset_that_are_there_are_named(empty_folder, tiny_dataset):
    (empty_folder / "keras" / "models").mkdir(parents=True)
    (empty_folder / "keras" / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    (empty_folder / "data").mkdir()
    (empty_folder / "data" / "prepared").symlink_to(tiny_dataset)
    found = run_doctor()
    assert found.facts["ImageNet weights"] == "vgg16"
    posters = len(PreparedDataset.open(tiny_dataset).index)
    assert found.facts["dataset"] == f"data/prepared, {posters} posters of 40 pixels"
    assert not any(line.startswith("no dataset") for line in found.advice)


def test_a_busy_machine_is_said_to_be_one(empty_folder, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (6.24, 5.0, 4.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    found = run_doctor()
    assert found.facts["cores"] == f"2 of {os.cpu_count()}, load 6.2"
    assert any(line.startswith("other programs keep 6.2 of 2 cores busy") for line in found.advice)
