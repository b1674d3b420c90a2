import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from poster_ml.data.properties import measure_poster
from poster_ml.errors import OutputError, RegistryError
from poster_ml.serving.prediction_log import PredictionLog, input_statistics, read_log
from poster_ml.serving.pyfunc import PosterModel
from poster_ml.serving.settings import ServingSettings
from tests.programs import wait_for


def test_statistics_of_known_pictures_agree_over_input_sizes_and_with_the_audit():
    white, red = np.full((40, 40, 3), 255, np.uint8), np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 255
    halves = white.copy()
    halves[:20] = 0
    assert input_statistics(white) == {"brightness": 1.0, "contrast": 0.0, "saturation": 0.0}
    assert input_statistics(red) == {"brightness": 0.299, "contrast": 0.0, "saturation": 1.0}
    # 32 rows do not divide 40: the row in the middle is a mixture.
    expected = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.0}
    assert input_statistics(halves) == pytest.approx(expected, abs=0.01)
    blocks = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    small, large = (np.kron(blocks, np.ones((k, k, 1), np.uint8)) for k in (2, 7))
    assert input_statistics(small) == input_statistics(large)
    audited = measure_poster(large)
    for name, value in input_statistics(large).items():
        assert value == pytest.approx(audited[name], abs=1e-4), name


@pytest.mark.parametrize("files", [1, 3])
def test_the_size_is_bounded_and_the_newest_stay(tmp_path, files):
    log = PredictionLog(tmp_path / "log.jsonl", 1_000, files)
    for number in range(200):
        log.write([{"number": number}])
    kept = [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert len(kept) == files
    longest = max(len(line) + 1 for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert all(path.stat().st_size < 1_000 + longest for path in kept)  # turned after the line that fills it
    numbers = [entry["number"] for entry in read_log(tmp_path / "log.jsonl")]
    assert numbers == list(range(200 - len(numbers), 200))
    assert len(numbers) >= 10 * (files - 1)


WORKER = """
import sys
from pathlib import Path
from poster_ml.serving.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[1]), 5_000, 400)
Path(sys.argv[1] + "-ready" + sys.argv[2]).touch()
while not Path(sys.argv[1] + "-go").exists():
    pass
for number in range(300):
    log.write([{"worker": sys.argv[2], "number": number, "part": part, "filler": "x" * 50} for part in range(3)])
"""


def test_several_workers_lose_and_mix_nothing_while_files_rotate(tmp_path):
    path = tmp_path / "log.jsonl"
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(name)]) for name in range(4)]
    wait_for(lambda: len(list(tmp_path.glob("*-ready*"))) == 4)
    (tmp_path / "log.jsonl-go").touch()  # all at once: workers that do not overlap prove nothing
    assert [worker.wait(120) for worker in workers] == [0] * 4
    entries = list(read_log(path))
    assert None not in entries
    assert len(list(tmp_path.glob("log.jsonl.[0-9]*"))) > 50, "too little rotated: the test proves nothing"
    wanted = {(str(name), number, part) for name in range(4) for number in range(300) for part in range(3)}
    seen = [(entry["worker"], entry["number"], entry["part"]) for entry in entries]
    assert len(seen) == len(wanted)
    assert set(seen) == wanted
    for name in range(4):
        assert [row[1:] for row in seen if row[0] == str(name)] == sorted(
            row[1:] for row in wanted if row[0] == str(name)
        )


def test_a_line_that_was_cut_costs_only_itself_and_entries_come_back_in_order(tmp_path):
    path = tmp_path / "deep" / "log.jsonl"
    log = PredictionLog(path, 10_000, 2, "m-1")
    log.write([{"number": 1}, {"number": 2}])
    path.write_bytes(path.read_bytes()[:-10])
    log.write([{"number": 3}])
    first, cut, last = read_log(path)
    assert (first["number"], cut, last["number"]) == (1, None, 3)
    assert first["model"] == "m-1"
    assert pd.to_datetime(first["time"]).tz is not None


def test_a_log_that_cannot_be_written_is_warned_of_once(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    log = PredictionLog(tmp_path / "file" / "log.jsonl", 10_000, 2)
    for _ in range(3):
        log.write([{"number": 1}])
    assert [record.getMessage() for record in caplog.records] == [
        f"the prediction log {tmp_path / 'file' / 'log.jsonl'} cannot be written (File exists): scoring continues"
    ]


def test_the_environment_decides(tmp_path, monkeypatch):
    for name in ("", "_MB", "_FILES"):
        monkeypatch.delenv("POSTER_ML_PREDICTION_LOG" + name, raising=False)
    assert PredictionLog.from_environment() is None
    monkeypatch.setenv("POSTER_ML_PREDICTION_LOG", str(tmp_path / "log.jsonl"))
    monkeypatch.setenv("POSTER_ML_PREDICTION_LOG_MB", "2")
    log = PredictionLog.from_environment("m-1")
    assert (log.path, log.max_bytes, log.files, log.model) == (tmp_path / "log.jsonl", 2_000_000, 5, "m-1")
    for text in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("POSTER_ML_PREDICTION_LOG_MB", text)
        with pytest.raises(RegistryError, match=f"LOG_MB must be a whole number of at least 1, got '{text}'"):
            PredictionLog.from_environment()


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.4"])
@pytest.mark.parametrize("content", [b"title,year\nCasablanca,1942\n", b'{"name": 1}\n'])
def test_a_file_of_the_users_is_never_written_over(tmp_path, monkeypatch, name, content):
    monkeypatch.setenv("POSTER_ML_PREDICTION_LOG", str(tmp_path / "log.jsonl"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OutputError) as caught:
        PredictionLog.from_environment()
    assert str(caught.value) == (
        f"POSTER_ML_PREDICTION_LOG {tmp_path / name} exists and holds no prediction log: give another file"
    )
    assert (tmp_path / name).read_bytes() == content


def test_logs_of_before_are_continued(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    monkeypatch.setenv("POSTER_ML_PREDICTION_LOG", str(path))
    for content in (b"", b'{"ti', b'{"time": "2026-01-01T00:00:00+00:00", "number": 0}\n'):
        path.write_bytes(content)
        PredictionLog.from_environment().write([{"number": 1}])
    assert [entry["number"] for entry in read_log(path)] == [0, 1]


def test_the_model_logs_what_it_answers_and_no_picture(tmp_path, monkeypatch, make_network, make_picture):
    path = tmp_path / "log.jsonl"
    monkeypatch.setenv("POSTER_ML_PREDICTION_LOG", str(path))
    model = PosterModel()
    model.prepare(make_network(), ServingSettings(size=32), "m-7")
    good = make_picture(width=60, height=90)
    secret = "https://example.org/secret-token"
    table = model.predict(None, pd.DataFrame({"image": [good, secret, good]}))
    first, second, third = read_log(path)
    facts = {"poster", "file_bytes", "width", "height", "brightness", "contrast", "saturation"}
    assert set(first) == {"time", "model", "probability", "error"} | facts
    assert (first["width"], first["height"], first["file_bytes"]) == (60, 90, len(good))
    assert first["probability"] == table["probability_fresh"][0]
    assert (first["error"], first["model"]) == (None, "m-7")
    assert first["poster"] == third["poster"]
    answer = {"model": "m-7", "probability": None, "error": "a URL is never opened"}
    assert second == {"time": second["time"], **answer}
    assert "secret" not in path.read_text()
    assert all(len(json.dumps(entry)) < 400 for entry in (first, second, third))
