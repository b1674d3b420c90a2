"""Writes conda.yaml, the environment of `mlflow run`: pyproject.toml in the versions of the lock.

python scripts/conda_yaml.py        # a part of `make lock`
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
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
    lock = (project / "requirements.lock").read_text()
    versions = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))
    return HEAD + "".join(f"      - {name}=={versions[name]}\n" for name in names)


if __name__ == "__main__":
    (PROJECT / "conda.yaml").write_text(conda_yaml())
