"""What README and docs/ tell people to type: commands exist with their options, marked blocks are run.

A block is run by putting `<!-- run -->` on the line before it. The blocks of a page run in their order in
one folder that has `movies.csv`, `posters/` (160 synthetic ones) and the dataset `data/prepared`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import PROJECT, check_options

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(<!-- run -->\n)?^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(?=\S)((?:.*\\\n)*.*)$", re.MULTILINE)
INLINE = re.compile(r"`(poster-ml [^`]+)`")
COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ +)*poster-ml +((?:.*\\\n)*.*)$", re.MULTILINE)


def blocks(page: Path) -> list[tuple[bool, str]]:
    """Every fenced block, and whether it is marked."""
    return [(bool(mark), text) for mark, text in BLOCK.findall(page.read_text())]


def commands(page: Path) -> list[list[str]]:
    """The words of every line of code that calls poster-ml, up to a pipe or comment."""
    found, page_text = [], page.read_text()
    prose = BLOCK.sub("", page_text)
    code = [text for _, text in blocks(page)] + INDENTED.findall(prose) + INLINE.findall(prose)
    for text in COMMAND.findall("\n".join(code)):
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        end = next((place for place, word in enumerate(words) if word in ("|", "&&", "&")), len(words))
        found.append(words[:end])
    return found


MARKED = [page for page in PAGES if any(mark for mark, _ in blocks(page))]
TYPED = [(page.name, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), TYPED, ids=lambda value: " ".join(value) if value else "")
def test_every_command_on_a_page_has_the_options_it_is_given(page, words):
    check_options(words)


def test_the_pages_were_read():
    assert len(TYPED) > 50
    assert {page.name for page in MARKED} >= {"index.md", "extend.md"}


@pytest.mark.parametrize("page", MARKED, ids=lambda page: page.name)
def test_the_marked_blocks_of_a_page_run_as_they_stand(page, tiny_dataset, mlflow_place):
    shutil.copytree(tiny_dataset.parent / "synthetic", mlflow_place, dirs_exist_ok=True)
    shutil.copytree(tiny_dataset, mlflow_place / "data" / "prepared")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    for text in [text for mark, text in blocks(page) if mark]:
        done = subprocess.run(
            ["bash", "-e", "-c", text], cwd=mlflow_place, env=environment, capture_output=True, text=True,
            timeout=500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{page.name}\n{text}\n{done.stderr[-3000:]}"
