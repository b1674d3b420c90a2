"""The map in docs/architecture.md names only what exists, and its picture is the one that import-linter enforces."""

import pkgutil
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


def exists(dotted: str) -> bool:
    """Whether `module.name` is a module of the package or something that one defines."""
    try:
        pkgutil.resolve_name(f"poster_ml.{dotted}")
    except (ImportError, AttributeError):
        return False
    return True


def test_every_module_function_and_configuration_key_of_the_map_exists(project):
    keys = set(flatten(load_experiment(experiment_path("vgg16"))))
    dotted = [
        text
        for text in spans(project)
        if re.fullmatch(r"\w+(\.\w+)+", text) and Path(text).suffix not in SOURCES | PRODUCTS
    ]
    assert [text for text in dotted if text not in keys and not exists(text)] == []
    assert len(dotted) > 60


def test_every_file_and_folder_of_the_map_exists(project):
    named = [
        text
        for text in spans(project)
        if re.fullmatch(r"[\w./-]+", text) and (text.endswith("/") or Path(text).suffix in SOURCES)
    ]
    found = [text for text in named if (project / text).exists() or (project / "poster_ml" / text).exists()]
    assert set(named) - set(found) == WRITTEN_BY_RUNS
    assert len(found) > 20


def test_every_bare_name_of_the_map_is_defined_somewhere(project):
    files = [*(project / "poster_ml").rglob("*.py"), project / "tests" / "test_cli.py"]
    source = "\n".join(file.read_text() for file in files)
    named = [text for text in spans(project) if re.fullmatch(r"[A-Z]\w+|[a-z]+(_[a-z]+)+", text)]
    missing = [
        text for text in named if not re.search(rf"^(class|def) {text}\b|^{text}\b.* = ", source, re.M)
    ]
    assert missing == []
    assert len(named) >= 8


def test_the_picture_is_the_order_of_layers_that_import_linter_enforces(project):
    settings = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [each for each in settings["contracts"] if each["type"] == "layers"]
    enforced = [set(layer.replace("poster_ml.", "").split(" | ")) for layer in contract["layers"]]
    picture = page(project).split("```layers\n")[1].split("```")[0]
    drawn = [re.split(r"\s{2,}", line)[0] for line in picture.splitlines() if not line.startswith(" ")]
    assert [set(layer.split(" | ")) for layer in drawn] == enforced
    here = (project / "poster_ml").iterdir()
    parts = {path.stem for path in here if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set().union(*enforced) == parts - {"__init__"}
