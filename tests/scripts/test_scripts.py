"""The scripts of those who carry on: the release, and the environment of `mlflow run`."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from scripts.conda_yaml import conda_yaml, locked_versions


@pytest.fixture
def repository(project, tmp_path):
    """A repository with one commit, and a changelog with one change."""
    for name in ("scripts/release.py", "poster_ml/__init__.py", "pyproject.toml", "LICENSE", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(project / name, tmp_path / name)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- A change.\n")
    (tmp_path / ".gitignore").write_text("dist/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def git(folder, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def release(folder, *arguments):
    command = [sys.executable, "scripts/release.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_dry_run_says_every_step_and_changes_nothing(repository):
    done = release(repository, "9.0.0", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["write"] * 2 + ["run"] * 3 + ["then"]
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "tag") == ""


def test_a_release_sets_version_and_changelog_builds_commits_and_tags(repository, monkeypatch):
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install 'poster-ml[dev]'")
    for name, value in (("NAME", "A"), ("EMAIL", "a@example.org")):
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    done = release(repository, "9.0.0")
    assert done.returncode == 0, done.stderr
    assert '__version__ = "9.0.0"' in (repository / "poster_ml" / "__init__.py").read_text()
    head, section = (repository / "CHANGELOG.md").read_text().split("## 9.0.0 - ")
    assert head.endswith("## Unreleased\n\n")
    assert "- A change." in section
    built = sorted(path.name for path in (repository / "dist").iterdir())
    assert built == ["poster_ml-9.0.0-py3-none-any.whl", "poster_ml-9.0.0.tar.gz"]
    assert git(repository, "describe") == "v9.0.0"
    assert git(repository, "status", "--porcelain") == ""


def test_what_is_no_release_is_refused_and_changes_nothing(repository):
    for version, words in (("1.0", "no version"), ("0.0.1", "not later than")):
        done = release(repository, version)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    (repository / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- Old.\n")
    assert "the working tree has changes" in release(repository, "9.0.0").stderr
    git(repository, "commit", "--quiet", "--all", "--message", "nothing new")
    assert "nothing under Unreleased" in release(repository, "9.0.0").stderr
    assert git(repository, "status", "--porcelain") == ""


def test_conda_yaml_is_what_the_script_writes_with_all_that_the_package_needs(project):
    written = (project / "conda.yaml").read_text()
    assert written == conda_yaml()
    needed = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    assert all(f"- {re.match(r'[a-z0-9_-]+', text)[0]}==" in written for text in needed)


def test_a_package_without_a_locked_version_is_an_error(project, tmp_path):
    shutil.copy(project / "pyproject.toml", tmp_path)
    (tmp_path / "requirements.lock").write_text("numpy==2.0 \\\n")
    with pytest.raises(KeyError):
        conda_yaml(tmp_path)


def test_where_the_lock_has_several_versions_the_one_for_python_3_11_is_taken():
    lines = [
        "numpy==2.4.6 ; python_full_version < '3.12'",
        "numpy==2.5.5 ; python_full_version >= '3.12'",
        "colorama==0.4.6 ; sys_platform == 'win32'",
        "tqdm==4.70.1",
    ]
    lock = "".join(f"{line} \\\n    --hash=sha256:00\n" for line in lines)
    assert locked_versions(lock) == {"numpy": "2.4.6", "tqdm": "4.70.1"}
