"""`synth` passes everything on and says in one line what cannot be written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from poster_ml.commands.synth import run_synth
from poster_ml.errors import DatasetError
from poster_ml.synthetic.writing import Confounders


def test_every_argument_reaches_the_posters(tmp_path: Path) -> None:
    confounders = Confounders(palette=0.2, shortcut=0.1)
    summary = run_synth(tmp_path / "out", count=21, seed=3, bayes_accuracy=0.75, confounders=confounders)
    record = json.loads((tmp_path / "out" / "synthetic.json").read_text())
    assert (record["count"], record["seed"], record["bayes_accuracy"]) == (21, 3, 0.75)
    assert (record["confounders"]["palette"], record["confounders"]["shortcut"]) == (0.2, 0.1)
    assert summary.folder == tmp_path / "out"
    assert len(list((tmp_path / "out" / "posters").iterdir())) == 21


def test_a_folder_below_a_file_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError) as caught:
        run_synth(tmp_path / "file" / "out", count=20)
    first, _, last = str(caught.value).partition("/out: ")
    assert first == f"cannot write {tmp_path / 'file'}"
    assert last.endswith("; name a folder that you may write")
