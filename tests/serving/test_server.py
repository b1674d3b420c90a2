"""A real `mlflow models serve` process: every form, explanations, and requests that make no sense."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from poster_ml.serving.load import load_poster_model, model_folder
from poster_ml.serving.pyfunc import COLUMNS

JSON = "application/json"
MOST_CONNECTIONS = 40


class Server:
    """Talks to one server process."""

    def __init__(self, port: int, process: subprocess.Popen) -> None:
        self.port, self.process = port, process

    def post(self, body: bytes, content_type: str = JSON) -> tuple[int, str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations", body, {"Content-Type": content_type}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def score(self, request: dict) -> list[dict]:
        status, body = self.post(json.dumps(request).encode())
        assert status == 200, body

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON: {body[:300]}")

        return json.loads(body, parse_constant=refuse)["predictions"]

    def megabytes(self) -> float:
        """Memory of the server and its workers."""
        family = [psutil.Process(self.process.pid)]
        family += family[0].children(recursive=True)
        return sum(member.memory_info().rss for member in family) / 1e6

    def alive(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=60) as response:
            return response.status == 200 and self.process.poll() is None


@pytest.fixture(scope="module")
def server(logged, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model_folder(logged.model_uri))]
    command += ["--env-manager", "local", "-p", str(port), "-h", "127.0.0.1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as output:
        limit = {"UVICORN_LIMIT_CONCURRENCY": str(MOST_CONNECTIONS)}
        where = {"cwd": log.parent, "env": {**os.environ, **limit, "PATH": path}}
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **where)
        running = Server(port, process)
        try:
            _wait(running, log)
            yield running
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait(server: Server, log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            if server.alive():
                return
        except OSError:
            pass
        assert server.process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.5)
    raise AssertionError("the server did not start: " + log.read_text()[-3000:])


@pytest.fixture(scope="module")
def texts(make_picture):
    kinds = ["JPEG", "PNG", "WEBP"]
    return [base64.b64encode(make_picture(row, kind=kinds[row])).decode() for row in range(3)]


@pytest.fixture(scope="module")
def expected(logged, texts):
    """What `poster-ml predict` says: the same model object, without a server."""
    return load_poster_model(logged.model_uri).predict(pd.DataFrame({"image": texts}))["probability_fresh"]


FORMS = {
    "dataframe_split": lambda cells: {"columns": ["image"], "data": [[cell] for cell in cells]},
    "dataframe_records": lambda cells: [{"image": cell, "title": "ignored"} for cell in cells],
    "inputs": lambda cells: {"image": cells},
    "instances": lambda cells: [{"image": cell} for cell in cells],
}


def close(rows, expected):
    np.testing.assert_allclose([row["probability_fresh"] for row in rows], expected.astype(float), rtol=1e-5)
    return True


@pytest.fixture(scope="module")
def with_facts(logged, texts):
    """What the model object says of three movies: all is known of the first, the year of the second."""
    table = pd.DataFrame({"image": texts, "year": [1999, 2005, None], "genres": ["Drama|War", None, None]})
    return load_poster_model(logged.model_uri).predict(table)


FACT_FORMS = {
    "dataframe_split": lambda rows: {"columns": ["image", "year", "genres"], "data": rows},
    "dataframe_records": lambda rows: [
        {name: cell for name, cell in zip(("image", "year", "genres"), row, strict=True) if cell is not None}
        for row in rows
    ],
    "inputs": lambda rows: dict(
        zip(("image", "year", "genres"), map(list, zip(*rows, strict=True)), strict=True)
    ),
    "instances": lambda rows: [dict(zip(("image", "year", "genres"), row, strict=True)) for row in rows],
}


@pytest.mark.parametrize("form", FACT_FORMS)
def test_year_and_genres_are_answered_in_every_form_of_a_request(server, texts, with_facts, form):
    rows = [[texts[0], 1999, "Drama|War"], [texts[1], 2005, None], [texts[2], None, None]]
    answer = server.score({form: FACT_FORMS[form](rows)})
    for name in ("probability_fresh", "probability_metadata", "probability_combined", "poster_effect"):
        expected = with_facts[name].astype(float)
        received = [np.nan if row[name] is None else row[name] for row in answer]
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)
    assert [row["note"] for row in answer] == [None] * 3


def test_every_answer_beside_the_probability_comes_through_the_server(server, texts):
    params = {
        "explain": True,
        "evidence": True,
        "rank": True,
        "neighbours": 2,
        "what_if": [0.1, 0.1, 0.5, 0.4],
    }
    request = {
        "dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]},
        "params": params,
    }
    first, *others = server.score(request)
    assert base64.b64decode(first["cam_png"]).startswith(b"\x89PNG")
    assert 0 <= first["similar_share_ci_low"] <= first["similar_share"] <= first["similar_share_ci_high"] <= 1
    assert sorted(row["rank"] for row in [first, *others]) == [1, 2, 3]
    assert [pair["other"] for pair in first["pairs"]] == [1, 2]
    assert len(first["neighbours"]) == 2
    assert first["what_if"][0]["box"] == [0.1, 0.1, 0.5, 0.4]


def test_strange_years_and_genres_never_break_the_server(server, texts):
    """300 values of any kind: each a note on its row, or a refusal of the request, and the server lives."""
    random = np.random.default_rng(0)
    strange = [
        None,
        True,
        -1,
        0,
        1.5,
        10**30,
        "soon",
        "",
        "1999",
        "Drama",
        "drama|Nonsense",
        [],
        ["War", 3],
        {},
        {"a": 1},
    ]
    answered = 0
    for _ in range(100):
        cells = [
            [texts[0], *(strange[number] for number in random.integers(0, len(strange), 2))] for _ in range(3)
        ]
        form = list(FACT_FORMS)[random.integers(0, 4)]
        status, body = server.post(json.dumps({form: FACT_FORMS[form](cells)}).encode())
        assert status in (200, 400), body[:300]
        answered += status == 200
    assert answered > 50
    assert server.alive()


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_a_plain_list_is_refused_with_the_name_of_the_column(server, texts, form):
    """MLflow reads a bare list for models with one column only; this one has optional ones beside it."""
    status, body = server.post(json.dumps({form: texts}).encode())
    assert status == 400
    assert "missing inputs ['image']" in json.loads(body)["message"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_numbers_of_predict_and_a_bad_image_fails_its_row(server, texts, expected, form):
    bad = ["https://example.org/poster.jpg", "/etc/passwd", "bm90IGFuIGltYWdl", ""]
    cells = [*texts, *bad]
    if form.startswith("dataframe"):
        cells[-1] = None
    rows = server.score({form: FORMS[form](cells)})
    assert [set(row) for row in rows] == [set(COLUMNS)] * len(cells)
    assert close(rows[:3], expected)
    assert {row["threshold"] for row in rows} == {0.4}
    assert [row["label"] for row in rows[:3]] == ["Fresh" if p >= 0.4 else "Rotten" for p in expected]
    assert [row["error"] for row in rows[:3]] == [None] * 3
    for row, reason in zip(rows[3:], ["a URL is never", "a path is never", "", "image"], strict=True):
        assert (row["probability_fresh"], row["label"]) == (None, None)
        assert reason in row["error"]
    assert close(server.score({form: FORMS[form](texts[:1])}), expected[:1])
    rows = server.score({form: FORMS[form](["no image", *texts]), "params": {"explain": True}})
    assert rows[0]["cam_png"] is None
    assert all(base64.b64decode(row["cam_png"]).startswith(b"\x89PNG") for row in rows[1:])


def test_data_uris_parquet_and_an_index_are_taken_too(server, texts, expected):
    uris = [f"data:image/jpeg;base64,{text}" for text in texts]
    assert close(server.score({"inputs": {"image": uris}}), expected)
    table = {"columns": ["image"], "data": [[text] for text in texts], "index": [7, 0, 3]}
    assert close(server.score({"dataframe_split": table}), expected), "rows in the order of the request"
    parquet = io.BytesIO()
    pd.DataFrame({"image": [base64.b64decode(cell) for cell in texts]}).to_parquet(parquet)
    status, answer = server.post(parquet.getvalue(), "application/vnd.apache.parquet")
    assert status == 200
    assert close(json.loads(answer)["predictions"], expected)


def test_rows_of_any_type_get_a_reason(server, texts):
    cells = [texts[0], 5, None, True, 1.5, {"a": 1}, [1, 2]]
    rows = server.score({"dataframe_records": [{"image": cell} for cell in cells]})
    assert [row["error"] is None for row in rows] == [True] + [False] * 6
    rows = server.score({"dataframe_records": [{"image": texts[0]}, {"title": "no image here"}]})
    assert "no image in this row" in rows[1]["error"]


MALFORMED = {
    b"": "JSON",
    bytes(range(128, 256)): "JSON",
    b'{"inputs": {"image": ["/9j/': "JSON",
    b"[1, 2]": "JSON",
    b"{}": "dataframe_split",
    b'{"images": ["a"]}': "dataframe_split",
    b'{"inputs": ["a"], "instances": ["a"]}': "dataframe_split",
    b'{"dataframe_split": {"columns": ["image"]}}': "data",
    b'{"dataframe_split": {"columns": ["image"], "data": [["a", "b"]]}}': "columns",
    b'{"dataframe_split": {"columns": ["image"], "data": []}}': "no rows",
    b'{"dataframe_split": {"columns": ["image", "image"], "data": [["a", "b"]]}}': "",
    b'{"dataframe_records": []}': "image",
    b'{"dataframe_records": [{"poster": "a"}]}': "image",
    b'{"inputs": {"image": []}}': "no rows",
    b'{"inputs": {"poster": ["a"]}}': "image",
    b'{"inputs": {"image": ["a"]}, "params": {"explain": "yes"}}': "explain",
    b'{"inputs": {"image": ["a"]}, "params": [1]}': "dictionary",
    b'{"instances": []}': "image",
}


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_a_request_that_makes_no_sense_is_a_400_with_a_message(server, body):
    status, answer = server.post(body)
    assert status == 400, (status, answer[:500])
    assert MALFORMED[body] in json.loads(answer)["message"]
    assert server.alive()


def test_other_content_types_are_refused(server):
    assert server.post(b"\x80\x04K\x01.", "application/octet-stream")[0] == 415
    assert server.post(b"image\nabc", "text/csv; charset=latin-1")[0] == 415
    assert server.post(b"\xff\xfe", "text/csv")[0] == 400
    assert server.post(b"not parquet", "application/vnd.apache.parquet")[0] == 400


def test_a_thousand_broken_requests_leave_a_server_that_scores(server, texts, expected):
    """Mutations of good requests: cut, with bytes changed, values swapped for other types, deeply nested."""
    random = np.random.default_rng(0)
    values = [None, 5, True, -1e308, "", "\u0000", "x" * 5000, [], {}, [[["a"]]], {"image": {"image": "a"}}]
    bad, before = [], 0.0
    for number in range(1000):
        if number == 100:  # allocators and caches have grown to their size
            before = server.megabytes()
        form = list(FORMS)[number % 4]
        body = bytearray(json.dumps({form: FORMS[form](texts[:2])}).encode())
        if number % 3 == 0:
            del body[int(random.integers(len(body))) :]
        elif number % 3 == 1:
            for position in random.integers(0, len(body), 20):
                body[position] = int(random.integers(256))
        else:
            cell = values[int(random.integers(len(values)))]
            rows = FORMS[form]([texts[0], cell]) if number % 2 else cell
            body = bytearray(json.dumps({form: rows, "params": values[number % 5]}).encode())
        status, answer = server.post(bytes(body))
        if status not in (200, 400) or not answer:
            bad.append((status, bytes(body)[:200], answer[:300]))
    grown = server.megabytes() - before
    print(f"{before:.0f} MB after 100 broken requests, {grown:+.1f} MB after 900 more")
    assert not bad, f"{len(bad)} answers: {bad[:5]}"
    assert grown < 100, grown
    assert server.alive()
    assert close(server.score({"inputs": {"image": texts}}), expected)


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG file that declares a size; `data` are its compressed rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bombs(make_picture) -> dict[str, tuple[bytes, str]]:
    """Small files that ask for much memory, each with what the answer says."""
    zeros = zlib.compress(bytes(200_000_000), 9)  # 200 MB in 0.2 MB
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as handle:
        handle.writestr("poster.jpg", bytes(200_000_000))
    jpeg = bytearray(make_picture())
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", 65_000, 65_000)
    gif = b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0"
    gif += struct.pack("<HH", 65_000, 65_000) + b"\0\x02\x02\x44\x01\0;"
    return {
        "declared pixels": (png(60_000, 60_000, zeros), "too many pixels"),
        "most pixels that Pillow would take": (png(9_000, 9_000, zeros), "too many pixels"),
        "more data than declared": (png(64, 96, zeros), ""),
        "JPEG": (bytes(jpeg), "too many pixels"),
        "GIF": (gif, "too many pixels"),
        "ZIP": (archive.getvalue(), "not an image"),
        "gzip": (gzip.compress(bytes(200_000_000)), "not an image"),
        "large file": (bytes(11_000_000), "at most 10 MB"),
    }


def test_bombs_are_answered_in_bounded_memory(server, make_picture, texts, expected):
    before = server.megabytes()
    highest = 0.0
    for name, (data, reason) in bombs(make_picture).items():
        cell = base64.b64encode(data).decode()
        for _ in range(3):
            rows = server.score({"inputs": {"image": [cell, texts[0]]}})
            assert rows[1]["error"] is None, name
            if reason:
                assert reason in rows[0]["error"], (name, rows[0])
            highest = max(highest, server.megabytes())
    print(f"{before:.0f} MB before the bombs, {highest - before:+.0f} MB at most")
    assert highest - before < 300
    assert close(server.score({"inputs": {"image": texts}}), expected)


def test_bodies_that_are_not_what_they_declare(server, texts, expected):
    """A length of 10 GB of which 10 bytes come, a compressed body, and JSON nested beyond reason."""
    head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nContent-Length: 10000000000\r\n\r\n"
    before = server.megabytes()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head.encode() + b'{"inputs":')
    assert server.alive()
    body = gzip.compress(json.dumps({"inputs": texts}).encode())
    assert server.post(body)[0] == 400
    for depth, wanted in ((100, 400), (100_000, 500)):
        # Beyond about 1,000 levels Python's JSON gives up inside MLflow's server, before the model is asked.
        status, _ = server.post(b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}")
        assert status in (400, wanted), (depth, status)
    assert server.alive()
    assert server.megabytes() - before < 100
    assert close(server.score({"inputs": {"image": texts}}), expected)


def test_beyond_the_limit_a_client_is_sent_away_at_once_and_may_come_back(server, texts, expected):
    waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(MOST_CONNECTIONS)]
    try:
        status, answer = server.post(json.dumps({"inputs": {"image": texts}}).encode())
        assert (status, answer) == (503, "Service Unavailable")
    finally:
        for connection in waiting:
            connection.close()
    assert close(server.score({"inputs": {"image": texts}}), expected)


def test_the_examples_of_the_documentation_work(server, texts, project):
    """Every JSON request in docs/serving.md, with its placeholder replaced by a picture, scores."""
    page = (project / "docs" / "serving.md").read_text(encoding="utf-8")
    requests = re.findall(r"<!-- request -->\n```json\n(.*?)```", page, flags=re.DOTALL)
    assert len(requests) >= 5
    for request in requests:
        rows = server.score(json.loads(request.replace("BASE64", texts[0])))
        assert all(row["error"] is None for row in rows), request
    responses = re.findall(r"<!-- response -->\n```json\n(.*?)```", page, flags=re.DOTALL)
    assert len(responses) >= 2
    for response in responses:
        for row in json.loads(response)["predictions"]:
            assert set(row) - {"cam_png"} == set(COLUMNS)


def test_the_python_example_of_the_documentation_works(server, project, tmp_path, make_picture):
    page = (project / "docs" / "serving.md").read_text(encoding="utf-8")
    example = re.search(r"<!-- client -->\n```python\n(.*?)```", page, flags=re.DOTALL)
    assert example is not None
    (tmp_path / "poster.jpg").write_bytes(make_picture())
    code = example[1].replace("127.0.0.1:5001", f"127.0.0.1:{server.port}")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"^0\.\d+ (Fresh|Rotten)$", done.stdout.strip())
