"""Which code trained a network: a digest of the source that its weights depend on.

The package's version alone would not do: between two releases the code changes and the version does not. Nor
would the commit: it changes with every page of the documents, and there is none where a package is installed.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

import poster_ml

ROOT = Path(poster_ml.__file__).parent
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def code_digest(*parts: str, root: Path = ROOT) -> str:
    """Digests what source files say to Python; comments, docstrings and layout may change.

    Args:
        parts: folders ("models") or files ("seeding.py") of the package.
        root: of the package.

    Returns: 24 hexadecimal digits, the same on every machine with the same Python version.

    Raises: FileNotFoundError for a part that does not exist.
    """
    digest = hashlib.sha256()
    for part in parts:
        place = root / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(root).as_posix()}\n{_without_docstrings(file)}\n".encode())
    return digest.hexdigest()[:24]


def _without_docstrings(file: Path) -> str:
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
