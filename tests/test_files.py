"""Files and folders that are whole or absent, and never written over what is not ours."""

import os
import socket
import subprocess
import sys

import pytest

from poster_ml.errors import OutputError
from poster_ml.files import (
    FolderResult,
    atomic_folder,
    atomic_path,
    begins_with,
    check_output_file,
    open_output_folder,
    remove_leftovers,
)
from tests.refusals import refusal

RESULT = FolderResult("make", "facts.json", '"made"', ("facts.json", "old", "new", "below/*.png"))


def make(folder, *names):
    """A result of the command `make`."""
    (folder / "below").mkdir(parents=True)
    (folder / "facts.json").write_text('{"made": 1}')
    for name in names:
        (folder / name).touch()
    return folder


def refused(folder):
    """What is said of a folder that is not replaced; the work is not begun."""
    with pytest.raises(OutputError) as caught, atomic_folder(folder, RESULT):
        pytest.fail("the work was begun")
    return str(caught.value)


def content(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_a_file_appears_when_the_block_ends_well_and_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.txt", tmp_path / "a.txt"
    link.symlink_to(target)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert content(tmp_path) == ["a.txt", "there/a.txt"]


def test_an_error_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert content(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_older_one_whole_and_an_error_keeps_it(tmp_path):
    folder = make(tmp_path / "data", "old", "below/a.png")
    with pytest.raises(RuntimeError), atomic_folder(folder, RESULT) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert content(tmp_path) == ["data/below/a.png", "data/facts.json", "data/old"]
    with atomic_folder(folder, RESULT) as temporary:
        (temporary / "new").touch()
    assert content(tmp_path) == ["data/new"]


@pytest.mark.parametrize("foreign", ["notes.txt", "below/notes.txt", "deeper/down/old"])
def test_a_result_that_a_file_of_the_users_lies_in_is_not_replaced(tmp_path, foreign):
    folder = make(tmp_path / "data", "old")
    (folder / foreign).parent.mkdir(parents=True, exist_ok=True)
    (folder / foreign).touch()
    assert refused(folder) == (
        f"--out {folder} would be replaced and holds {foreign!r}, which `poster-ml make` did not write: "
        "move it away, or give another folder"
    )
    assert content(folder) == sorted([foreign, "facts.json", "old"])


def test_a_file_that_comes_while_the_work_lasts_is_not_lost(tmp_path):
    folder = make(tmp_path / "data", "old")
    with pytest.raises(OutputError, match=r"holds 'notes\.txt'"), atomic_folder(folder, RESULT) as temporary:
        (temporary / "new").touch()
        (folder / "notes.txt").touch()
    assert content(tmp_path) == ["data/facts.json", "data/notes.txt", "data/old"]


def test_a_folder_without_the_marker_of_a_result_is_not_replaced(tmp_path):
    folder = make(tmp_path / "data", "old")
    for spoil in ((folder / "facts.json").write_text, lambda _: (folder / "facts.json").unlink()):
        spoil("[]")
        assert "and is not a result of `poster-ml make`" in refused(folder)
        assert (folder / "old").exists()


def test_a_folder_is_marked_and_only_its_own_command_writes_into_it_again(tmp_path):
    folder = tmp_path / "new"
    open_output_folder(folder, "compare")
    (folder / "mine.txt").touch()
    open_output_folder(folder, "compare")
    said = r"holds '\.poster-ml-compare' and is not a result of `poster-ml suite`"
    with pytest.raises(OutputError, match=said):
        open_output_folder(folder, "suite")


def test_what_a_killed_process_set_aside_comes_back_and_its_half_is_removed(tmp_path):
    here = socket.gethostname()
    for name in (f".data.{here}.old", f".data.{here}.tmp", ".data.elsewhere.old", ".data.elsewhere.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").touch()
    (tmp_path / f".data.{here}.lock").touch()
    assert "is not a result" in refused(tmp_path / "data")
    of_another_machine = [".data.elsewhere.old/old", ".data.elsewhere.tmp/old"]  # which may still fill it
    assert content(tmp_path) == [*of_another_machine, "data/old"]


FILLER = """
import os, sys
from pathlib import Path
from poster_ml.files import FolderResult, atomic_folder
with atomic_folder(Path(sys.argv[1]), FolderResult("make", "facts.json", '"made"', ("facts.json",))) as temporary:
    (temporary / "facts.json").write_text('{"made": 2}')
    print("filling", flush=True)
    input()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_what_another_process_is_filling_is_left_alone_until_it_is_dead(tmp_path, killed):
    arguments = [sys.executable, "-c", FILLER, str(tmp_path / "data")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "filling\n"
        assert "data is being written by another command" in refused(tmp_path / "data")
        if killed:
            other.kill()
        other.communicate(None if killed else "\n")
    assert (tmp_path / "data").exists() != killed
    with atomic_folder(tmp_path / "data", RESULT) as temporary:
        (temporary / "new").touch()
    assert content(tmp_path) == ["data/new"]


@pytest.mark.parametrize("head", ["", "a,", "a,b\n", "a,b\n1,2"])
def test_a_file_of_ours_and_what_a_kill_left_of_it_may_be_written_to(tmp_path, head):
    (tmp_path / "a.csv").write_text(head)
    check_output_file(tmp_path / "a.csv", begins_with("a,b\n"), "pairs")
    check_output_file(tmp_path / "new" / "a.csv", begins_with("a,b\n"), "pairs")


@pytest.mark.parametrize("head", ["b", "a,c\n", "\n", "a,\n"])
def test_a_file_that_begins_otherwise_is_refused(tmp_path, head):
    (tmp_path / "a.csv").write_text(head)
    arguments = (tmp_path / "a.csv", begins_with("a,b\n"), "pairs", "--to")
    said = refusal(OutputError, check_output_file, *arguments)
    assert said == f"--to {tmp_path / 'a.csv'} exists and holds no pairs: give another file"


def test_a_pipe_and_a_folder_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "pipe is not a regular file"),
        (tmp_path, "is a folder: give a file"),
    ):
        assert said in refusal(OutputError, check_output_file, path, begins_with("a"), "letters")


def test_only_leftovers_of_our_own_are_removed(tmp_path):
    for name in (".a.jpg.0a1b2c3d.tmp", ".notes.tmp", ".a.txt.0a1b2c3d.tmp", "a.jpg.0a1b2c3d.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, [".jpg", ".png"])
    assert content(tmp_path) == [".a.txt.0a1b2c3d.tmp", ".notes.tmp", "a.jpg.0a1b2c3d.tmp"]
