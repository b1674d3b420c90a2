#!/usr/bin/env bash
# Tries the newest versions of everything in an environment of its own, and says which they are and
# whether the tests pass: `make newest`, now and then or on a schedule. Nothing of the project changes.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --upgrade --editable ".[dev]"
echo "package      locked -> newest"
"$place/venv/bin/python" - <<'END'
from importlib.metadata import version
from pathlib import Path

from scripts.conda_yaml import locked_versions

locked = locked_versions(Path("requirements.lock").read_text())
for name in ("mlflow", "keras", "optuna", "tensorflow", "keras-tuner", "distributed", "numpy", "pandas"):
    print(f"{name:<12} {locked[name]} -> {version(name)}")
END
"$place/venv/bin/python" -m pytest -n auto --dist loadfile --no-loadscope-reorder -q "$@"
