"""The notebooks under examples/ run from top to bottom in an empty folder."""

import json
import shlex

from poster_ml import cli


def run_cell(source, space):
    """Runs a cell, commands behind a ! in this process."""
    lines = source.splitlines()
    for command in (line for line in lines if line.startswith("!")):
        program, *words = shlex.split(command.removeprefix("!"))
        assert (program, cli.run(words)) == ("poster-ml", 0), command
    exec("\n".join(line for line in lines if not line.startswith("!")), space)


def test_the_notebook_trains_evaluates_and_scores(project, mlflow_place, capsys):
    cells = json.loads((project / "examples" / "python.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells), "committed without outputs"
    space = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        run_cell("".join(cell["source"]), space)
    printed = capsys.readouterr().out
    assert "basic_cnn (full): run " in printed
    assert "test_roc_auc 0." in printed or "test_roc_auc 1." in printed
    assert "160 posters" in printed
    shown = eval(cell["source"][-1], space)
    assert list(shown.columns) == ["poster", "probability_fresh", "label", "error"]
    assert (mlflow_place / "data" / "prepared").is_dir()
