"""What the demo says at its end. The demo itself is run by tests/entry_points.py."""

import re
import shlex
from pathlib import Path

from poster_ml.commands.demo import DemoResult
from poster_ml.commands.evaluate import EvaluateResult
from poster_ml.pipeline.train_log import TrainResult
from poster_ml.serving.registry import Version
from tests.programs import check_options


def test_the_demo_ends_with_numbered_steps_whose_commands_exist():
    metrics = dict.fromkeys(("accuracy", "accuracy_ci_low", "accuracy_ci_high", "roc_auc"), 0.8)
    trained = [
        TrainResult(name, name, "demo", 1, 2, 3.0, {f"val_{key}": value for key, value in metrics.items()})
        for name in ("basic_cnn", "vgg16")
    ]
    tested = {f"test_{key}": value for key, value in metrics.items()} | {"test_majority_accuracy": 0.6}
    best = EvaluateResult("vgg16", "vgg16", "test", 300, tested, [])
    versions = [
        Version("poster-vgg16", 1, "champion", "vgg16"),  # of the better network: this one is offered
        Version("poster-cnn", 1, "champion", "basic_cnn"),
    ]
    text = DemoResult(Path("demo"), trained, best, versions, "http://127.0.0.1:5000/#/view", 100.0).text()

    steps = text.split("What to look at next:\n")[1]
    assert re.findall(r"^  (\d)\. ", steps, re.MULTILINE) == list("123456")
    places = [
        steps.index(words) for words in ("report.html", "#/view", " app ", "explain", "serve", "preprocess")
    ]
    assert places == sorted(places)
    commands = re.findall(r"^ +poster-ml (.*)$", steps, re.MULTILINE)
    assert len(commands) == 6
    assert "models:/poster-vgg16@champion" in steps
    assert "poster-cnn" not in steps
    for command in commands:
        check_options(shlex.split(command))
    # A second demo in one store: a run before was the best of its family, and its version lost its alias.
    before = [Version("poster-vgg16", 3, "", "before"), Version("poster-cnn", 2, "challenger", "before too")]
    again = DemoResult(Path("demo"), trained, best, before, "http://127.0.0.1:5000/#/view", 100.0).text()
    assert "mlflow models serve -m models:/poster-vgg16/3 " in again
