"""Files and folders that are whole or absent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from poster_ml.files import atomic_folder, atomic_path


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_appears_when_the_block_ends_well(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_the_older_one_whole(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "old").touch()
    with atomic_folder(folder) as temporary:
        (temporary / "new").touch()
        assert (folder / "old").exists()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_error_keeps_the_older_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(RuntimeError), atomic_folder(folder) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_a_killed_process_set_aside_comes_back_and_its_half_is_removed(tmp_path):
    process = dead_process()
    aside = tmp_path / f".data.{process}-0a0b0c0d.old"
    aside.mkdir()
    (aside / "old").touch()
    (tmp_path / f".data.{process}-0a0b0c0d.tmp").mkdir()
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "data"):
        raise RuntimeError
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_a_living_process_is_filling_is_left_alone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        theirs = tmp_path / f".data.{other.pid}-0a0b0c0d.tmp"
        theirs.mkdir()
        with atomic_folder(tmp_path / "data") as temporary:
            (temporary / "new").touch()
        assert theirs.is_dir()
        other.communicate(b"\n")
