"""What is delivered: the wheel, built anew, holds what the program reads and nothing else."""

import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest

from tests.programs import run_python


@pytest.fixture(scope="module")
def wheel(project, tmp_path_factory):
    """The wheel of this working tree."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install 'poster-ml[dev]'")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (path,) = folder.glob("poster_ml-*.whl")
    return path


def test_the_wheel_holds_every_module_experiment_and_template_and_nothing_else(project, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {
        path.relative_to(project).as_posix()
        for path in (project / "poster_ml").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    experiments = {
        f"poster_ml/{path.relative_to(project).as_posix()}"
        for path in (project / "experiments").rglob("*.yaml")
    }
    assert names == package | experiments
    assert len(experiments) > 25
    assert "poster_ml/py.typed" in names
    assert any(name.startswith("poster_ml/evaluation/templates/") for name in names)


def test_an_unpacked_wheel_finds_its_own_experiments_and_no_commit(wheel, tmp_path):
    """Away from the repository: neither its experiments nor its git are what an installation sees."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); os.chdir(sys.argv[1] + '/poster_ml/data')\n"
        "from poster_ml.config import experiment_path\n"
        "from poster_ml.search_space import space_path\n"
        "from poster_ml.tracking.runs import git_commit\n"
        "print(experiment_path('vgg16', 'study')); print(space_path('vgg16')); print(git_commit())"
    )
    lines = run_python("-P", "-c", script, tmp_path, PYTHONPATH="").stdout.split()
    place = tmp_path / "poster_ml" / "experiments"
    assert lines == [str(place / "study" / "vgg16.yaml"), str(place / "tune" / "vgg16.yaml"), "unknown"]


def test_the_wheel_names_its_extras_and_the_program(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (info,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(info).decode())
        program = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    extras = {"app", "dashboard", "detect", "dev", "docs", "jax", "postgres", "quantize", "spark"}
    assert extras <= set(metadata.get_all("Provides-Extra"))
    assert "poster-ml = poster_ml.cli:main" in program
