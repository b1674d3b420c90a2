"""`predict`: every file once, in order, whatever is killed, broken, written before or in the way."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from poster_ml.commands import predict as module
from poster_ml.commands.predict import run_predict
from poster_ml.errors import DatasetError, OutputError, PosterMLError
from poster_ml.pipeline import prediction_files
from poster_ml.pipeline.poster_files import ScoreTask, score_files, walk_posters
from poster_ml.pipeline.prediction_files import record_path
from poster_ml.serving.load import identify
from tests.commands.fake_model import FakeModel, identity, use_fake_model
from tests.programs import PROJECT
from tests.refusals import refusal

METADATA = ("probability_metadata", "probability_combined", "poster_effect", "note")
HEADER = ["poster", "probability_fresh", "label", "threshold", "error", *METADATA]
BAD = 'no image, "really"'


@pytest.fixture
def fake(monkeypatch):
    """No MLflow, no network: what is tested is the way of files to rows."""
    return use_fake_model(monkeypatch)


def fill(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"tt{number:05d}.jpg").write_bytes(b"x" * (number % 900 + 1))
    return folder


def expected(folder, count):
    return {str(folder / f"tt{number:05d}.jpg"): (number % 900 + 1) / 1000 for number in range(count)}


def read_csv(path):
    with path.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == HEADER
    return rows[1:]


def test_csv_holds_every_file_once_in_order(fake, tmp_path):
    folder, out = fill(tmp_path / "in", 200), tmp_path / "out.csv"
    (folder / "tt00003.jpg").write_bytes(b"bad")
    (folder / "tt00007.jpg").unlink()
    (folder / "tt00007.jpg").symlink_to(tmp_path / "gone.jpg")
    result = run_predict("m", [folder], out=out, batch_size=64)
    assert (result.scored, result.failed, result.resumed) == (200, 2, 0)
    assert result.text() == f"200 posters, 2 of them could not be scored: {out}"
    assert sorted(fake.batches) == [8, 64, 64, 64]  # two are under way; which is scored first, is open
    rows = read_csv(out)
    wanted = expected(folder, 200)
    assert [row[0] for row in rows] == list(wanted)
    assert rows[3][1:] == ["", "", "0.5", BAD, *[""] * 4]
    assert rows[7][1:5] == ["", "", "0.5", "missing file: tt00007.jpg"]
    scored = {row[0]: float(row[1]) for row in rows if row[1]}
    assert scored.items() <= wanted.items()
    assert len(scored) == 198
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.csv", "out.csv.json"]


def test_what_has_a_whole_row_is_not_scored_again(fake, tmp_path):
    folder, out = fill(tmp_path / "in", 20), tmp_path / "out.csv"
    (folder / 'odd "name"\n, two.jpg').write_bytes(b"x" * 7)
    run_predict("m", [folder / "tt00005.jpg", folder / "tt00006.jpg"], out=out)
    result = run_predict("m", [folder], out=out, batch_size=4)
    assert (result.scored, result.resumed) == (19, 2)
    whole = out.read_bytes()
    header = len(",".join(HEADER))
    for cut in (1, header, header + 1, header + 30, len(whole) // 2, len(whole) - 1, len(whole)):
        out.write_bytes(whole[:cut])
        result = run_predict("m", [folder], out=out, batch_size=4)
        assert result.scored + result.resumed == 21
        assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines()), cut
    assert result.scored == 0
    afresh = run_predict("m", [folder / "tt00001.jpg"], out=out, resume=False)
    assert (afresh.scored, afresh.resumed, len(read_csv(out))) == (1, 0, 1)


def test_killed_and_resumed_no_row_is_lost_or_doubled(tmp_path):
    count = 1500
    folder, out = fill(tmp_path / "in", count), tmp_path / "out.csv"
    command = [sys.executable, "-m", "tests.commands.fake_model", str(folder), str(out)]
    kills = 0
    for wait in (0.3, 0.5, 0.7, None):
        process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True)
        if wait is None:
            assert process.wait(120) == 0
            break
        deadline = time.monotonic() + 60
        before = progress_of(out)
        while process.poll() is None and progress_of(out) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait(30)
    assert kills >= 2, "the work was done before it could be killed: the test proves nothing"
    table = pd.read_csv(out)
    assert len(table) == count
    assert dict(zip(table["poster"], table["probability_fresh"], strict=True)) == expected(folder, count)


def progress_of(out):
    return out.stat().st_size if out.exists() else 0


def test_ten_thousand_files_hold_few_in_memory(tmp_path):
    listed = []

    def files():
        folder = fill(tmp_path, 10)
        for number in range(10_000):
            listed.append(number)
            yield folder / f"tt{number % 10:05d}.jpg"

    model, rows = FakeModel(), 0
    for batch in score_files(None, ScoreTask(lambda: model, tmp_path, 0.5), files(), 32):
        rows += len(batch)
        assert len(listed) - rows <= 2 * 32  # one batch being read ahead, no more
    assert (rows, max(model.batches)) == (10_000, 32)


def test_output_on_stdout(fake, tmp_path, capsys):
    folder = fill(tmp_path / "in", 2)
    (folder / "tt00001.jpg").write_bytes(b"bad")
    names = [str(folder / f"tt0000{number}.jpg") for number in (0, 1)]
    run_predict("m", [folder], format="csv")
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        HEADER,
        [names[0], "0.001", "Fresh", "0.5", *[""] * 5],
        [names[1], "", "", "0.5", BAD, *[""] * 4],
    ]
    run_predict("m", [folder], format="json")
    table = json.loads(capsys.readouterr().out)
    assert [list(row) for row in table] == [HEADER] * 2
    assert list(table[0].values()) == [names[0], 0.001, "Fresh", 0.5, *[None] * 5]
    assert list(table[1].values()) == [names[1], None, None, 0.5, BAD, *[None] * 4]
    run_predict("m", [folder], format="table")
    assert capsys.readouterr().out.splitlines() == [
        "P(Fresh)  label   poster",
        f"  0.0010  Fresh   {names[0]}",
        f"       -  -       {names[1]}  ({BAD})",
    ]


def test_a_table_names_posters_with_what_is_known_of_them(fake, tmp_path, monkeypatch, capsys):
    fill(tmp_path / "in", 2)
    (tmp_path / "movies.csv").write_text(
        "title,path,year,genres\nA,in/tt00000.jpg,1999,Drama|War\nB,in/tt00001.jpg,,\nC,in/gone.jpg,2001,NA\n"
    )
    asked = []

    def predict(table):
        asked.append(table)
        facts = {"probability_metadata": 0.4, "probability_combined": 0.5, "poster_effect": 0.1, "note": None}
        return FakeModel().predict(table).assign(**facts)

    monkeypatch.setattr(fake, "predict", predict)
    run_predict("m", [tmp_path / "movies.csv"], out=tmp_path / "out.csv")
    assert asked[0]["year"].tolist() == ["1999", None, "2001"]
    assert asked[0]["genres"].tolist() == ["Drama|War", None, "NA"]
    rows = read_csv(tmp_path / "out.csv")
    assert [row[0] for row in rows] == [
        str(tmp_path / "in" / name) for name in ("tt00000.jpg", "tt00001.jpg", "gone.jpg")
    ]
    assert rows[0][1:] == ["0.001", "Fresh", "0.5", "", "0.4", "0.5", "0.1", ""]
    assert "missing file: gone.jpg" in rows[2]
    capsys.readouterr()
    run_predict("m", [tmp_path / "movies.csv"], format="table")
    said = "(year and genres alone 0.4000, with the poster 0.5000: +0.1000)"
    assert capsys.readouterr().out.splitlines()[1] == f"  0.0010  Fresh   {rows[0][0]}  {said}"
    (tmp_path / "movies.csv").write_text("path,year\nin/tt00000.jpg,2020\nin/tt00001.jpg,\ngone.jpg,\n")
    with pytest.raises(DatasetError, match="holds rows with other years and genres: give another --out"):
        run_predict("m", [tmp_path / "movies.csv"], out=tmp_path / "out.csv")
    with pytest.raises(DatasetError, match="holds rows with other years and genres"):
        run_predict("m", [tmp_path / "in"], out=tmp_path / "out.csv")
    for text, said in (
        ("title\nA\n", "lists no posters, its columns are title"),
        ("path\n", "lists no posters"),
        ("", "be read"),
        ("path,year\nin/tt00000.jpg,1\n,2\n", r"row 2 of the table .* names no image file, ''"),
        ("path\nin\n", r"row 1 of the table .* names no image file, 'in'"),
        ("path\nhttps://a.test/b.jpg\n", "names no image file"),
        ("path\nin/tt00000.jpg\nin/tt00000.jpg\n", "row 2 .* names a poster of an earlier row"),
    ):
        (tmp_path / "movies.csv").write_text(text)
        with pytest.raises(DatasetError, match=said):
            run_predict("m", [tmp_path / "movies.csv"])


def test_folders_are_walked_once(tmp_path):
    a = tmp_path / "a"
    inner = a / "inner"
    inner.mkdir(parents=True)
    for path in (a / "1.jpg", inner / "2.PNG", a / "3.txt", a / ".4.jpg"):
        path.write_bytes(b"x")
    (inner / "circle").symlink_to(a)
    both = [a / "1.jpg", inner / "2.PNG"]
    assert list(walk_posters([a])) == both
    assert list(walk_posters([a / "1.jpg", a, inner, a])) == both
    assert list(walk_posters([a / "3.txt"])) == [a / "3.txt"]
    assert list(walk_posters([inner, a / "1.jpg"])) == both[::-1]


def test_every_mistake_is_refused_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("poster_ml.pipeline.poster_files.load_keras", lambda: pytest.fail("loaded"))
    empty, folder = tmp_path / "empty", fill(tmp_path / "in", 1)
    empty.mkdir()
    missing, folder_csv = tmp_path / "no.jpg", tmp_path / "in.csv"
    folder_csv.mkdir()
    for posters, options, message in (
        ([], {}, "no poster was named: give image files or folders"),
        ([missing], {}, f"no file or folder {missing}: give image files or folders"),
        ([folder, empty], {}, f"the folder {empty} has no image: files must end in .jpg, .jpeg"),
        ([folder], {"format": "xml"}, "--format must be one of table, csv, json, received 'xml'"),
        ([folder], {"out": folder}, f"--out must end in .csv, received '{folder}'"),
        ([folder], {"out": folder_csv}, f"--out {folder_csv} is a folder: give a file"),
    ):
        assert refusal(PosterMLError, run_predict, "m", posters, **options).startswith(message)


def test_rows_of_two_models_are_never_mixed(fake, tmp_path, monkeypatch):
    folder, out = fill(tmp_path / "in", 4), tmp_path / "out.csv"
    run_predict("first", [folder / "tt00001.jpg"], out=out)
    assert json.loads(record_path(out).read_text()) == identity("first")
    before = out.read_bytes()
    remedy = "give another --out, or start it afresh with --no-resume"
    second = identity("second", "poster-vgg16 version 4")
    monkeypatch.setattr("poster_ml.serving.load.identify", lambda model, uri: second)
    assert refusal(DatasetError, run_predict, "second", [folder], out=out) == (
        f"--out {out} holds rows of the model (m-first), not of poster-vgg16 version 4 (m-second): {remedy}"
    )
    assert out.read_bytes() == before
    assert run_predict("second", [folder], out=out, resume=False).scored == 4
    record_path(out).unlink()
    assert refusal(DatasetError, run_predict, "second", [folder], out=out) == (
        f"--out {out} has rows, and no {out.name}.json beside it says which model wrote them: {remedy}"
    )


def test_a_json_file_of_somebody_else_is_left_alone(fake, tmp_path):
    folder, out = fill(tmp_path / "in", 1), tmp_path / "out.csv"
    run_predict("m", [folder], out=out)
    before = out.read_bytes()
    record_path(out).write_text("[1, 2]")
    with pytest.raises(OutputError, match=r"out\.csv\.json exists and holds no record of predictions"):
        run_predict("m", [folder], out=out, resume=False)
    assert record_path(out).read_text() == "[1, 2]"
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("models:/poster-cnn@champion", "poster-cnn version 3-champion"),
        ("models:/poster-cnn/12", "poster-cnn version 12"),
        ("models:/m-7", ""),
        ("runs:/r7/model", ""),
        ("some/folder", ""),
    ],
)
def test_an_alias_is_resolved_to_what_does_not_move(monkeypatch, uri, version):
    def resolve(self, name, alias):
        return SimpleNamespace(version=f"3-{alias}")

    monkeypatch.setattr("mlflow.MlflowClient.get_model_version_by_alias", resolve)
    settings = {"threshold": 0.4}
    metadata = SimpleNamespace(model_id="m-7", run_id="r7", metadata={"settings": settings})
    known = {"model_id": "m-7", "model_uri": uri, "version": version, "run_id": "r7", "settings": settings}
    assert identify(SimpleNamespace(metadata=metadata), uri) == known


def test_constants_are_what_the_model_uses():
    from poster_ml.serving.pyfunc import BATCH_SIZE, COLUMNS

    assert module.BATCH_SIZE == BATCH_SIZE
    assert list(prediction_files.COLUMNS) == ["poster", *COLUMNS]
