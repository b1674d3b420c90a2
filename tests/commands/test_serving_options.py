"""The options of predict, register, promote and drift reach their commands."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from poster_ml.cli import run


@pytest.fixture
def calls(monkeypatch):
    """What each workflow was called with."""
    seen = []

    def record(module, name):
        def called(*arguments, **options):
            seen.append((name, arguments, options))
            return SimpleNamespace(text=lambda: "done")

        monkeypatch.setattr(f"poster_ml.commands.{module}.{name}", called)

    for module, name in (
        ("predict", "run_predict"),
        ("register", "run_register"),
        ("promote", "run_promote"),
        ("promote", "run_roll_back"),
    ):
        record(module, name)
    monkeypatch.setattr("poster_ml.cli.service.load_keras", lambda: None)
    monkeypatch.setattr("poster_ml.cli.evaluation.load_keras", lambda: None)
    return seen


def test_predict_starts_afresh_only_when_told(calls):
    assert run(["predict", "--model-uri", "m", "a.jpg", "--out", "a.csv"]) == 0
    assert run(["predict", "--model-uri", "m", "a.jpg", "--out", "a.csv", "--no-resume"]) == 0
    assert [options["resume"] for _, _, options in calls] == [True, False]


def test_register_names_the_dataset(calls, capsys):
    assert run(["register", "--family", "cnn", "--dataset", "abc"]) == 0
    assert run(["register"]) == 0
    assert calls == [
        ("run_register", ("cnn",), {"allow_demo": False, "dataset_fingerprint": "abc"}),
        ("run_register", ("vgg16",), {"allow_demo": False, "dataset_fingerprint": None}),
    ]
    assert capsys.readouterr().out == "done\ndone\n"


def test_nobody_chooses_the_posters_that_decide(calls, capsys):
    assert run(["promote"]) == 0
    assert run(["promote", "--family", "cnn", "--roll-back"]) == 0
    assert run(["promote", "--split", "val"]) == 2
    assert calls == [("run_promote", ("vgg16",), {}), ("run_roll_back", ("cnn",), {})]
    assert "No such option: --split" in capsys.readouterr().err
