"""Files whose names are not UTF-8, as old archives hold them: listed and scored, never a bug."""

import io
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from poster_ml import cli
from poster_ml.commands.predict import run_predict
from poster_ml.commands.preprocess import run_preprocess
from poster_ml.synthetic.writing import write_posters
from tests.commands.fake_model import use_fake_model
from tests.pictures import poster

ODD = os.fsdecode(b"caf\xe9.jpg")  # Latin-1
SHOWN = "caf\\udce9.jpg"


@pytest.fixture
def posters(tmp_path, monkeypatch):
    """A folder of three posters, the one in the middle with a name that is not UTF-8."""
    folder = tmp_path / "posters"
    folder.mkdir()
    for name in ("a.jpg", ODD, "d.jpg"):
        try:
            poster().save(folder / name)
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
    monkeypatch.chdir(tmp_path)
    use_fake_model(monkeypatch)
    return folder


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_predict_prints_every_row(posters, monkeypatch, form):
    output = io.TextIOWrapper(io.BytesIO(), "utf-8")  # as strict as a pipe's
    monkeypatch.setattr(sys, "stdout", output)
    run_predict("m", [posters], format=form)
    output.seek(0)
    text = output.read()
    shown = SHOWN.replace("\\", r"\\") if form == "json" else SHOWN
    assert all(name in text for name in ("a.jpg", shown, "d.jpg"))


def test_predict_writes_a_file_that_is_utf8_and_goes_on_with_it(posters):
    out = Path("scores.csv")
    assert run_predict("m", [posters], out=out).scored == 3
    rows = pd.read_csv(out, encoding="utf-8")
    assert [Path(name).name for name in rows["poster"]] == ["a.jpg", SHOWN, "d.jpg"]
    again = run_predict("m", [posters], out=out)
    assert (again.scored, again.resumed) == (0, 3)


@pytest.mark.parametrize("arguments", [["predict"], ["explain", "--out", "maps"]])
def test_a_missing_file_with_such_a_name_is_named(posters, capsys, arguments):
    assert cli.run([*arguments, "--model-uri", "m", os.fsdecode(b"gar\xe7on.jpg")]) == 2
    assert "no file or folder gar\\udce7on.jpg: give image files" in capsys.readouterr().err


def test_preprocess_passes_by_such_a_file_and_refuses_such_a_folder(posters, tmp_path, capsys):
    raw = tmp_path / "raw"
    write_posters(raw, count=60, width=64, height=96)
    (raw / "posters" / ODD).write_bytes((posters / "a.jpg").read_bytes())
    table, images, out = raw / "movies.csv", raw / "posters", tmp_path / "data"
    assert sum(run_preprocess(table, images, out, size=16, workers=1, track=False).counts.values()) == 60
    odd = images.rename(raw / os.fsdecode(b"donn\xe9es"))
    assert cli.run(["preprocess", "--table", str(table), "--posters", str(odd), "--out", "other"]) == 2
    said = capsys.readouterr().err
    assert "donn\\udce9es" in said
    assert said.endswith("is not UTF-8, which is needed here: rename it\n")
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("text", "encoding", "code", "said"),
    [
        (ODD, "utf-8", 2, "error: the name caf\\udce9.jpg is not UTF-8, which is needed here: rename it\n"),
        ("é", "ascii", 1, "bug: UnicodeEncodeError"),
    ],
)
def test_a_name_that_a_library_cannot_take_is_the_users_to_change_and_any_other_text_a_bug(
    capsys, monkeypatch, text, encoding, code, said
):
    monkeypatch.setattr("poster_ml.commands.synth.run_synth", lambda *_, **__: text.encode(encoding))
    assert cli.run(["synth", "out"]) == code
    assert capsys.readouterr().err.startswith(said)
