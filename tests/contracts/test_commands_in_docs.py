"""What README and docs/ tell people to type: commands exist with their options, marked blocks are run.

A block is run by putting `<!-- run -->` on the line before it. The blocks of a page run in their order in
one folder that has `movies.csv`, `posters/` (160 synthetic ones) and the dataset `data/prepared`.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from poster_ml import cli
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
    """What a page tells people to call, as of `typed_commands`."""
    prose = BLOCK.sub("", page.read_text())
    code = [text for _, text in blocks(page)] + INDENTED.findall(prose) + INLINE.findall(prose)
    return typed_commands("\n".join(code))


def typed_commands(code: str) -> list[list[str]]:
    """The words of every line of code that calls poster-ml, up to a pipe or comment."""
    found = []
    for text in COMMAND.findall(code):
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


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("page", MARKED, ids=lambda page: page.name)
def test_the_marked_blocks_of_a_page_run_as_they_stand(page, tiny_dataset, mlflow_place):
    """What a block writes by itself first, then its commands one after another, in this process."""
    shutil.copytree(tiny_dataset.parent / "synthetic", mlflow_place, dirs_exist_ok=True)
    shutil.copytree(tiny_dataset, mlflow_place / "data" / "prepared")
    for text in [text for mark, text in blocks(page) if mark]:
        subprocess.run(["bash", "-e", "-c", COMMAND.sub("", text)], check=True)
        typed = typed_commands(text)
        assert typed, text
        for words in typed:
            assert cli.run(words) == 0, words
