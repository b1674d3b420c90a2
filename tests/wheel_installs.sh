#!/usr/bin/env bash
# Builds the wheel, installs it into an environment of its own in the versions of the lock, and trains
# with it in an empty folder: no file of the repository may be needed.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

.venv/bin/python -m hatchling build -d "$place/dist"
.venv/bin/python -m venv "$place/venv"
grep -E '^[a-z0-9].*==' requirements.lock | sed 's/ *\\$//' > "$place/locked.txt"
"$place/venv/bin/python" -m pip install --quiet --constraint "$place/locked.txt" "$place"/dist/*.whl
mkdir "$place/empty"
cd "$place/empty"
unset PYTHONPATH
"$place/venv/bin/poster-ml" doctor
"$place/venv/bin/poster-ml" train --model basic_cnn --epochs 1 --limit 200
"$place/venv/bin/python" -c "import poster_ml; poster_ml.load_model; print(poster_ml.__file__)" | grep -q "$place/venv/"
