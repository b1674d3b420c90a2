"""The map in docs/architecture.md names only what exists, and its picture is the one that import-linter enforces."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from poster_ml.config import experiment_path, flatten, load_experiment

SOURCES = {".py", ".yaml", ".toml", ".md"}  # endings of files in the repository
PRODUCTS = {".csv", ".json", ".html"}  # and of files that commands write
WRITTEN_BY_RUNS = {"model_card.md", "experiment.yaml"}


def page(project: Path) -> str:
    return (project / "docs" / "architecture.md").read_text()


def spans(project: Path) -> list[str]:
    """Everything in backticks, outside the picture."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page(project), flags=re.DOTALL))


def defined(file: Path) -> set[str]:
    """The names that a module defines at its top, and Class.method."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def exists(dotted: str, package: Path) -> bool:
    """Whether `package.module.name` is a package, a module or something that the module defines."""
    first, _, rest = dotted.partition(".")
    if (package / f"{first}.py").is_file():
        return not rest or rest in defined(package / f"{first}.py")
    return (package / first).is_dir() and (not rest or exists(rest, package / first))


def test_every_module_function_and_configuration_key_of_the_map_exists(project: Path) -> None:
    keys = set(flatten(load_experiment(experiment_path("vgg16"))))
    dotted = [
        text
        for text in spans(project)
        if re.fullmatch(r"\w+(\.\w+)+", text) and Path(text).suffix not in SOURCES | PRODUCTS
    ]
    assert [text for text in dotted if text not in keys and not exists(text, project / "poster_ml")] == []
    assert len(dotted) > 60


def test_every_file_and_folder_of_the_map_exists(project: Path) -> None:
    named = [
        text
        for text in spans(project)
        if re.fullmatch(r"[\w./-]+", text) and (text.endswith("/") or Path(text).suffix in SOURCES)
    ]
    found = [text for text in named if (project / text).exists() or (project / "poster_ml" / text).exists()]
    assert set(named) - set(found) == WRITTEN_BY_RUNS
    assert len(found) > 20


def test_every_bare_name_of_the_map_is_defined_somewhere(project: Path) -> None:
    everything = {"uint8"}.union(*map(defined, (project / "poster_ml").rglob("*.py")))
    everything |= defined(project / "tests" / "test_cli.py")
    named = [text for text in spans(project) if re.fullmatch(r"[A-Z]\w+|[a-z]+(_[a-z]+)+", text)]
    assert [text for text in named if text not in everything] == []
    assert len(named) >= 8


def test_the_picture_is_the_order_of_layers_that_import_linter_enforces(project: Path) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [each for each in settings["contracts"] if each["type"] == "layers"]
    enforced = [set(layer.replace("poster_ml.", "").split(" | ")) for layer in contract["layers"]]
    picture = page(project).split("```layers\n")[1].split("```")[0]
    drawn = [re.split(r"\s{2,}", line)[0] for line in picture.splitlines() if not line.startswith(" ")]
    assert [set(layer.split(" | ")) for layer in drawn] == enforced
    here = (project / "poster_ml").iterdir()
    parts = {path.stem for path in here if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set().union(*enforced) == parts - {"__init__"}
