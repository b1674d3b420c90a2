"""The notebooks under examples/ run from top to bottom in an empty folder."""

import ast
import json
import shlex

from poster_ml import cli


def run_cell(source, space):
    """Runs a cell as a notebook does, commands behind a ! in this process; returns its last value."""
    lines = source.splitlines()
    for command in (line for line in lines if line.startswith("!")):
        program, *words = shlex.split(command.removeprefix("!"))
        assert (program, cli.run(words)) == ("poster-ml", 0), command
    tree = ast.parse("\n".join(line for line in lines if not line.startswith("!")))
    last = (
        ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    )
    exec(compile(tree, "cell", "exec"), space)
    return eval(compile(last, "cell", "eval"), space) if last else None


def test_the_notebook_trains_evaluates_and_scores(project, mlflow_place, capsys):
    cells = json.loads((project / "examples" / "python.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells), "committed without outputs"
    space = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        shown = run_cell("".join(cell["source"]), space)
    printed = capsys.readouterr().out
    assert "basic_cnn (full): run " in printed
    assert "test_roc_auc 0." in printed or "test_roc_auc 1." in printed
    assert "160 posters" in printed
    assert list(shown.columns) == ["poster", "probability_fresh", "label", "error"]
    assert (mlflow_place / "data" / "prepared").is_dir()
