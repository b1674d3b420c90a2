"""What the command line takes reaches the functions of the commands under the names that these know."""

import importlib
import inspect
from types import SimpleNamespace

import pytest

from poster_ml import cli

NEEDED = {
    "synth": "synth out",
    "download": "download movies.csv --out out",
    "preprocess": "preprocess --table movies.csv --posters in",
    "suite": "suite --only basic_cnn,vgg16 --limit 9",
    "tune": "tune --model basic_cnn --storage sqlite:///a.db",
    "ensemble": "ensemble 1 2",
    "evaluate": "evaluate --run 1 --set evaluate.bins=5",
    "compare": "compare 1 2",
    "explain": "explain a.jpg --model-uri m --out maps --what-if text,border",
    "predict": "predict a.jpg --model-uri m --no-resume",
    "rank": "rank a.jpg b.jpg --model-uri m --year 1999",
    "drift": "drift --log log --data data",
    "export": "export 1 --out runs.json",
    "register": "register --family cnn --dataset abc",
    "promote": "promote --family cnn",
    "run_roll_back": "promote --family cnn --roll-back",
    "quantize": "quantize --model-uri m",
}
REACHED = {
    "suite": {"only": ["basic_cnn", "vgg16"], "overrides": ["max_samples=9"]},
    "evaluate": {"run": "1", "overrides": ["evaluate.bins=5"]},
    "explain": {"what_if": ["text", "border"]},
    "predict": {"resume": False, "format": "table"},
    "rank": {"year": 1999},
    "register": {"dataset": "abc", "allow_demo": False},
}


@pytest.mark.parametrize("name", ["demo", "explore", "cache", "doctor", *NEEDED])
def test_every_option_has_a_parameter(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = NEEDED.get(name, name).split()
    module = importlib.import_module(f"poster_ml.commands.{arguments[0]}")
    function = name if name.startswith("run_") else f"run_{name}"
    signature = inspect.signature(getattr(module, function))
    reached = {}

    def called(*given, **options):
        reached.update(signature.bind(*given, **options).arguments)
        return SimpleNamespace(text=lambda: "done")

    monkeypatch.setattr(module, function, called)
    assert cli.run(arguments) == 0
    assert capsys.readouterr().out == ("" if name == "predict" else "done\n")
    assert reached.items() >= REACHED.get(name, {}).items()


def test_nobody_chooses_the_posters_that_decide(capsys):
    assert cli.run(["promote", "--split", "val"]) == 2
    assert "No such option: --split" in capsys.readouterr().err
