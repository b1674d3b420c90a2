"""A real `mlflow models serve` process: every form, explanations, and requests that make no sense."""

import base64
import gzip
import io
import json
import re
import socket
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest

from poster_ml.serving.load import load_poster_model, model_folder
from poster_ml.serving.pyfunc import COLUMNS
from tests.pictures import declared_png
from tests.serving.server import JSON, MOST_CONNECTIONS, running_server


@pytest.fixture(scope="module")
def server(logged, tmp_path_factory):
    with running_server(model_folder(logged.model_uri), tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def texts(make_picture):
    kinds = ["JPEG", "PNG", "WEBP"]
    return [base64.b64encode(make_picture(row, kind=kinds[row])).decode() for row in range(3)]


@pytest.fixture(scope="module")
def expected(logged, texts):
    """What `poster-ml predict` says: the same model object, without a server."""
    return load_poster_model(logged.model_uri).predict(pd.DataFrame({"image": texts}))["probability_fresh"]


FORMS = {
    "dataframe_split": lambda table: table.to_dict("split"),
    "dataframe_records": lambda table: table.assign(title="ignored").to_dict("records"),
    "inputs": lambda table: table.to_dict("list"),
    "instances": lambda table: table.to_dict("records"),
}


def request(form: str, cells: list, **facts: list) -> dict:
    """A request for these images, with columns of what is known of their movies."""
    columns = {name: pd.Series(values, dtype=object) for name, values in {"image": cells, **facts}.items()}
    return {form: FORMS[form](pd.DataFrame(columns))}


def close(rows, expected):
    return [row["probability_fresh"] for row in rows] == pytest.approx(list(expected), rel=1e-5)


def test_every_answer_beside_the_probability_comes_through_the_server(server, texts):
    asked = {"explain": True, "evidence": True, "rank": True, "neighbours": 2}
    params = {**asked, "what_if": [0.1, 0.1, 0.5, 0.4]}
    first, *others = server.score({**request("dataframe_split", texts), "params": params})
    assert base64.b64decode(first["cam_png"]).startswith(b"\x89PNG")
    assert 0 <= first["similar_share_ci_low"] <= first["similar_share"] <= first["similar_share_ci_high"] <= 1
    assert sorted(row["rank"] for row in [first, *others]) == [1, 2, 3]
    assert [pair["other"] for pair in first["pairs"]] == [1, 2]
    (bad,) = server.score({"inputs": {"image": ["no image"]}, "params": {"explain": True}})
    assert bad["cam_png"] is None
    assert len(first["neighbours"]) == 2
    assert first["what_if"][0]["box"] == [0.1, 0.1, 0.5, 0.4]


def test_strange_years_and_genres_never_break_the_server(server, texts):
    """300 values of any kind: each a note on its row, or a refusal of the request, and the server lives."""
    random = np.random.default_rng(0)
    strange = [None, True, -1, 0, 1.5, 10**30, "soon", "", "1999", "Drama", "drama|Nonsense"]
    strange += [[], ["War", 3], {}, {"a": 1}]
    answered = 0
    for number in range(100):
        years, genres = ([strange[k] for k in random.integers(0, len(strange), 3)] for _ in range(2))
        content = request(list(FORMS)[number % 4], [texts[0]] * 3, year=years, genres=genres)
        status, body = server.post(json.dumps(content).encode())
        assert status in (200, 400), body[:300]
        answered += status == 200
    assert answered > 50
    assert server.alive()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_answers_of_predict_and_a_bad_image_fails_its_row(server, logged, texts, form):
    bad = ["https://example.org/poster.jpg", "/etc/passwd", "bm90IGFuIGltYWdl", ""]
    cells = [*texts, *bad]
    if form.startswith("dataframe"):
        cells[-1] = None
    facts = {"year": [1999, 2005, None], "genres": ["Drama|War", None, None]}
    expected = load_poster_model(logged.model_uri).predict(pd.DataFrame({"image": texts, **facts}))
    rows = server.score(
        request(form, cells, **{name: [*known, *[None] * 4] for name, known in facts.items()})
    )
    assert [set(row) for row in rows] == [set(COLUMNS)] * len(cells)
    for name in ("probability_fresh", "probability_metadata", "probability_combined", "poster_effect"):
        received = [np.nan if row[name] is None else row[name] for row in rows[:3]]
        np.testing.assert_allclose(received, expected[name].astype(float), rtol=1e-5, atol=1e-6)
    assert [row["label"] for row in rows[:3]] == expected["label"].tolist()
    assert {row["threshold"] for row in rows} == {0.4}
    assert [(row["error"], row["note"]) for row in rows[:3]] == [(None, None)] * 3
    for row, reason in zip(rows[3:], ["a URL is never", "a path is never", "", "image"], strict=True):
        assert (row["probability_fresh"], row["label"]) == (None, None)
        assert reason in row["error"]
    assert close(server.score(request(form, texts[:1])), expected["probability_fresh"][:1])


def test_data_uris_parquet_and_an_index_are_taken_too(server, texts, expected):
    uris = [f"data:image/jpeg;base64,{text}" for text in texts]
    assert close(server.score({"inputs": {"image": uris}}), expected)
    table = request("dataframe_split", texts)["dataframe_split"] | {"index": [7, 0, 3]}
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
    # MLflow reads a bare list for models with one column only; this one has optional ones beside it.
    b'{"inputs": ["YQ=="]}': "missing inputs ['image']",
    b'{"instances": ["YQ=="]}': "missing inputs ['image']",
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


def test_a_request_that_makes_no_sense_is_a_400_with_a_message(server):
    for body, message in MALFORMED.items():
        status, answer = server.post(body)
        assert status == 400, (body, status, answer[:500])
        assert message in json.loads(answer)["message"], body
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
        body = bytearray(json.dumps(request(form, texts[:2])).encode())
        if number % 3 == 0:
            del body[int(random.integers(len(body))) :]
        elif number % 3 == 1:
            for position in random.integers(0, len(body), 20):
                body[position] = int(random.integers(256))
        else:
            cell = values[int(random.integers(len(values)))]
            content = request(form, [texts[0], cell]) if number % 2 else {form: cell}
            body = bytearray(json.dumps({**content, "params": values[number % 5]}).encode())
        status, answer = server.post(bytes(body))
        if status not in (200, 400) or not answer:
            bad.append((status, bytes(body)[:200], answer[:300]))
    grown = server.megabytes() - before
    assert not bad, f"{len(bad)} answers: {bad[:5]}"
    assert grown < 100, grown
    assert server.alive()
    assert close(server.score({"inputs": {"image": texts}}), expected)


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
        "declared pixels": (declared_png(60_000, 60_000, zeros), "too many pixels"),
        "most pixels that Pillow would take": (declared_png(9_000, 9_000, zeros), "too many pixels"),
        "more data than declared": (declared_png(64, 96, zeros), ""),
        "JPEG": (bytes(jpeg), "too many pixels"),
        "GIF": (gif, "too many pixels"),
        "ZIP": (archive.getvalue(), "not an image"),
        "gzip": (gzip.compress(bytes(200_000_000)), "not an image"),
        "large file": (bytes(11_000_000), "at most 10 MB"),
    }


def test_bombs_are_answered_in_bounded_memory(server, make_picture, texts, expected):
    before = highest = server.megabytes()
    for name, (data, reason) in bombs(make_picture).items():
        cell = base64.b64encode(data).decode()
        for _ in range(2):
            rows = server.score({"inputs": {"image": [cell, texts[0]]}})
            assert rows[1]["error"] is None, name
            if reason:
                assert reason in rows[0]["error"], (name, rows[0])
            highest = max(highest, server.megabytes())
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


def test_the_examples_of_the_documentation_work(server, texts, project, tmp_path, make_picture):
    """Every JSON request in docs/serving.md, with its placeholder replaced by a picture, and the client."""
    page = (project / "docs" / "serving.md").read_text(encoding="utf-8")
    requests = re.findall(r"<!-- request -->\n```json\n(.*?)```", page, flags=re.DOTALL)
    assert len(requests) >= 5
    for written in requests:
        rows = server.score(json.loads(written.replace("BASE64", texts[0])))
        assert all(row["error"] is None for row in rows), written
    responses = re.findall(r"<!-- response -->\n```json\n(.*?)```", page, flags=re.DOTALL)
    assert len(responses) >= 2
    for response in responses:
        for row in json.loads(response)["predictions"]:
            assert set(row) - {"cam_png"} == set(COLUMNS)
    example = re.search(r"<!-- client -->\n```python\n(.*?)```", page, flags=re.DOTALL)
    assert example is not None
    (tmp_path / "poster.jpg").write_bytes(make_picture())
    code = example[1].replace("127.0.0.1:5001", f"127.0.0.1:{server.port}")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"^0\.\d+ (Fresh|Rotten)$", done.stdout.strip())
