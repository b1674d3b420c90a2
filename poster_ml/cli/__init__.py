"""The command line: parse, call one command's recipe, turn a PosterMLError into exit code 2. No ML here."""

from __future__ import annotations

# Importing a module of commands registers them; their order is that of `poster-ml --help`.
from poster_ml.cli import data, training, evaluation, service  # noqa: F401  # isort: skip
from poster_ml.cli.app import app, main, run

__all__ = ["app", "main", "run"]
