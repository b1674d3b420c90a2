"""The site: built strictly, every page of docs/ in its navigation, and nothing loaded from elsewhere."""

import re
import subprocess
import sys

import pytest
import yaml


def pages_of(nav):
    """The files that a navigation names."""
    for entry in nav:
        (named,) = entry.values()
        yield from [named] if isinstance(named, str) else pages_of(named)


def test_every_page_is_in_the_navigation(project):
    nav = yaml.safe_load((project / "mkdocs.yml").read_text())["nav"]
    written = [page.name for page in (project / "docs").glob("*.md")]
    assert sorted(pages_of(nav)) == sorted({*written, "commands.md"})  # that one is generated


@pytest.fixture(scope="module")
def site(project, tmp_path_factory):
    """The built site, with the page of the command line that `make docs` writes."""
    missing = "the site's programs are not installed: pip install 'poster-ml[docs]'"
    pytest.importorskip("mkdocstrings", reason=missing)
    pytest.importorskip("material", reason=missing)
    commands = next(
        line.split("$(BIN)/")[1]
        for line in (project / "Makefile").read_text().splitlines()
        if "utils docs" in line
    )
    folder = tmp_path_factory.mktemp("site")
    for command in (commands, f"python -m mkdocs build --strict --quiet --site-dir {folder}"):
        words = command.replace('"Command line"', "Commands").split()
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|link|iframe|source)[^>]*?(?:src|href)=\"([^\"]+)\"", page.read_text()
        )
        assert loaded
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page.name
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text()), sheet.name


def test_the_reference_has_every_command_and_function(site):
    commands = (site / "commands.html").read_text()
    named = ("demo", "preprocess", "train", "evaluate", "tune")
    assert all(f"poster-ml {name}" in commands for name in named)
    python = (site / "python.html").read_text()
    offered = ("train", "evaluate", "load_model", "Model.predict")
    assert all(f'id="poster_ml.api.{name}"' in python for name in offered)
