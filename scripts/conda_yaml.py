"""Writes conda.yaml, the environment of `mlflow run`: pyproject.toml in the versions of the lock.

python scripts/conda_yaml.py        # a part of `make lock`
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent
TARGET = {
    "python_version": "3.11", "python_full_version": "3.11.0", "implementation_name": "cpython",
    "platform_python_implementation": "CPython", "sys_platform": "linux", "platform_system": "Linux",
    "platform_machine": "x86_64", "os_name": "posix",
}  # fmt: skip
HEAD = """\
# Written by `make lock` from pyproject.toml and requirements.lock. Third-party packages only: the
# project itself runs from its folder, so that a change of the code needs no new environment.
name: poster-ml
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def conda_yaml(project: Path = PROJECT) -> str:
    """Returns the text of conda.yaml. Raises: KeyError for a package that is not in the lock."""
    needed = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    names = sorted(re.split(r"[><=\[ ]", text)[0] for text in needed)
    versions = locked_versions((project / "requirements.lock").read_text())
    return HEAD + "".join(f"      - {name}=={versions[name]}\n" for name in names)


def locked_versions(lock: str) -> dict[str, str]:
    """Returns the version of every package that the lock gives Python 3.11 on Linux."""
    lines = re.findall(r"^([a-z0-9].*==.*?) *\\?$", lock, re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    return {
        one.name: str(one.specifier).removeprefix("==")
        for one in requirements
        if one.marker is None or one.marker.evaluate(TARGET)
    }


if __name__ == "__main__":
    (PROJECT / "conda.yaml").write_text(conda_yaml())
