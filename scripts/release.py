"""Makes a release: version, changelog, wheel and sdist, commit and tag.

    python scripts/release.py 0.2.0 --dry-run     # says what would be done, and changes nothing
    python scripts/release.py 0.2.0               # then: git push --follow-tags

It works on a clean working tree only. `make test` and `make check` come before it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def new_version(text: str, version: str) -> str:
    """Returns poster_ml/__init__.py with the version. Raises: SystemExit for no later one."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise SystemExit(f"{version!r} is no version: give three numbers, for example 0.2.0")
    old = re.search(r'__version__ = "(.+)"', text)[1]  # type: ignore[index]
    if _numbers(version) <= _numbers(old):
        raise SystemExit(f"{version} is not later than {old}")
    return text.replace(f'__version__ = "{old}"', f'__version__ = "{version}"')


def new_changelog(text: str, version: str, day: date) -> str:
    """Returns the changelog with "Unreleased" under the version, an empty one above it.

    Raises: SystemExit where nothing is unreleased.
    """
    head, _, rest = text.partition("## Unreleased\n")
    if not rest.partition("\n## ")[0].strip():
        raise SystemExit("CHANGELOG.md has nothing under Unreleased: write what changed there")
    return f"{head}## Unreleased\n\n## {version} - {day.isoformat()}\n{rest}"


def main(arguments: list[str]) -> None:
    """Runs the release in the repository."""
    parser = argparse.ArgumentParser(description="version, changelog, wheel, commit and tag")
    parser.add_argument("version", help="three numbers, for example 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    if _git("status", "--porcelain"):
        raise SystemExit(
            "the working tree has changes: commit them first, so that the tag holds what was tested"
        )
    if _git("tag", "--list", f"v{options.version}"):
        raise SystemExit(f"the tag v{options.version} exists: take the next version")

    init, changelog = PROJECT / "poster_ml" / "__init__.py", PROJECT / "CHANGELOG.md"
    texts = {
        init: new_version(init.read_text(), options.version),
        changelog: new_changelog(changelog.read_text(), options.version, date.today()),
    }
    for path, text in texts.items():
        print(f"write   {path.relative_to(PROJECT)}")
        if not options.dry_run:
            path.write_text(text)
    named = f"Version {options.version}"
    steps = [
        [sys.executable, "-m", "hatchling", "build", "-d", "dist"],
        ["git", "commit", "--quiet", "--all", "--message", named],
        ["git", "tag", "--annotate", f"v{options.version}", "--message", named],
    ]
    for step in steps:
        print(f"run     {' '.join(step)}")
        if not options.dry_run:
            subprocess.run(step, cwd=PROJECT, check=True)
    print("then    git push --follow-tags")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
