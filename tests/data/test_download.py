"""Download against a local server that misbehaves in every way."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import nullcontext
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from poster_ml.cluster import open_cluster
from poster_ml.commands.download import run_download
from poster_ml.data.download import DownloadReport, download_posters, read_record, write_record
from poster_ml.data.fetch import FetchOptions, Outcome, Status, unusable_url
from poster_ml.data.images import NAMES
from poster_ml.errors import DownloadError, TableError
from tests.pictures import encode, poster
from tests.programs import wait_for
from tests.refusals import refusal

QUICK = FetchOptions(timeout=5.0, retries=2, backoff=0.01, longest_wait=2.0)


POSTER = encode(poster(), "JPEG")
CONTENTS = {
    "good": POSTER,
    "png": encode(poster(), "PNG"),
    "webp": encode(poster(), "WEBP"),
    "page": b"<!DOCTYPE html><html>Not here</html>",
    "text": b"no picture at all",
    "dot": encode(poster(0, 1, 1), "GIF"),
    "tiny": encode(poster(0, 20, 20), "PNG"),
    "half": POSTER[: len(POSTER) // 2],  # a whole answer with half a picture
}


class Server(ThreadingHTTPServer):
    """Counts what it is asked for; the path says how it behaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()
        self.hits: Counter[str] = Counter()
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.dies_after = 10**9  # requests

    def handle_error(self, *_: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.hits[self.path] += 1
            server.times.append(time.monotonic())
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            dead = sum(server.hits.values()) > server.dies_after
        kind, _, rest = self.path.strip("/").partition("/")
        try:
            self.answer("hang_up" if dead else kind, rest, server.hits[self.path])
        finally:
            with server.lock:
                server.at_once -= 1

    def send(self, status: int, content: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        headers["Content-Length"] = str(len(content) if length is None else length)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer(self, kind: str, rest: str, hit: int) -> None:
        if kind in CONTENTS:
            self.send(200, CONTENTS[kind], Content_Type="image/jpeg")
        elif kind == "slow":
            time.sleep(0.1)
            self.send(200, POSTER)
        elif kind == "status":
            self.send(int(rest.partition("/")[0]))
        elif kind == "flaky":  # so many faults, then well
            self.send(*((503, b"") if hit <= int(rest) else (200, POSTER)))
        elif kind == "wait":
            asked = formatdate(time.time() + 1.5, usegmt=True) if rest == "date" else rest
            self.send(*((429, b"") if hit == 1 else (200, POSTER)), Retry_After=asked)
        elif kind in ("cut", "cut_once", "announced"):  # announces more than it sends
            content = POSTER if kind == "cut_once" and hit > 1 else POSTER[:500]
            self.send(200, content, length=10**9 if kind == "announced" else len(POSTER))
            self.close_connection = True
        elif kind in ("endless", "drip"):
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 65536 if kind == "endless" else b"x")
                time.sleep(0 if kind == "endless" else 0.05)
        elif kind in ("to", "loop", "to_file"):
            places = {"to": f"/{rest}", "loop": self.path, "to_file": "file:///etc/hostname"}
            self.send(302, Location=places[kind])
        else:  # hang up
            self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


def movies(server: Server, **paths: str) -> pd.DataFrame:
    """movie_id=path on the server, or a whole URL."""
    urls = [server.url + path if path.startswith("/") else path for path in paths.values()]
    return pd.DataFrame({"movie_id": list(paths), "image_url": urls})


def counts(report: DownloadReport) -> dict[str, int]:
    return {status: number for status, number in report.counts.items() if number}


def lines(out: Path) -> dict[str, dict[str, str]]:
    with (out / "download.csv").open(newline="", encoding="utf-8") as handle:
        return {line["movie_id"]: line for line in csv.DictReader(handle)}


def posters(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.name != "download.csv")


def test_what_can_be_fetched_is_fetched_once_and_the_rest_reported(server, tmp_path):
    saved = {"good": "/good", "png": "/png", "webp": "/webp", "twin": "/good", "moved": "/to/good/moved"}
    tried_again = {"flaky": "/flaky/2", "cut_once": "/cut_once"}
    alike = [
        "page", "text", "dot", "tiny", "cut", "half", "announced", "endless", "hang_up", "loop", "to_file",
    ]  # fmt: skip
    statuses = {"gone": "/status/404", "forbidden": "/status/403", "broken": "/status/500"}
    unusable = {"none": "", "relative": "assets/x.jpg", "ftp": "ftp://x.test/a.jpg"}
    misbehaving = {name: f"/{name}" for name in alike}
    table = movies(server, **saved, **tried_again, **statuses, **misbehaving, **unusable)
    report = download_posters(table, tmp_path, FetchOptions(retries=2, backoff=0.01, max_bytes=1_000_000))

    fetched = ["cut_once.jpg", "flaky.jpg", "good.jpg", "moved.jpg", "png.png", "twin.jpg", "webp.webp"]
    assert posters(tmp_path) == fetched
    assert (tmp_path / "good.jpg").read_bytes() == POSTER
    record = lines(tmp_path)
    assert list(record) == list(table["movie_id"])
    assert "closed connection" in record["cut"].pop("reason")
    half = record["half"].pop("reason")
    assert half.startswith("broken image: JPEG data cannot be decoded (image file is truncated")
    record["hang_up"].pop("reason")
    found = {
        name: tuple(line[key] for key in ("status", "http_status", "reason") if key in line)
        for name, line in record.items()
    }
    assert found == dict.fromkeys([*saved, *tried_again], ("saved", "200", "")) | {
        "cut": ("unreachable", "200"),
        "half": ("unreachable", "200"),
        "hang_up": ("unreachable", "0"),
        "gone": ("failed", "404", "the server answers 404"),
        "forbidden": ("failed", "403", "the server answers 403"),
        "broken": ("unreachable", "500", "the server answers 500"),
        "page": ("failed", "200", "not an image: an HTML or XML page"),
        "text": ("failed", "200", f"not an image: no {NAMES} that can be read"),
        "dot": ("failed", "200", "too small: 1 x 1 pixels, each side must have at least 32"),
        "tiny": ("failed", "200", "too small: 20 x 20 pixels, each side must have at least 32"),
        "announced": ("failed", "200", "larger than 1000000 bytes"),
        "endless": ("failed", "200", "larger than 1000000 bytes"),
        "loop": ("failed", "0", "Exceeded maximum allowed redirects."),
        "to_file": ("failed", "0", "Request URL has an unsupported protocol 'file://'."),
        "none": ("rejected", "0", "no URL"),
        "relative": ("rejected", "0", "not a whole http or https URL"),
        "ftp": ("rejected", "0", "not a whole http or https URL"),
    }
    once = [*saved.values(), "/good/moved", "/status/404", "/page"]
    assert [server.hits[path] for path in once] == [1] * len(once)
    assert server.hits["/flaky/2"] == server.hits["/status/500"] == server.hits["/cut"] == 3
    assert counts(report) == {"saved": 7, "rejected": 3, "failed": 10, "unreachable": 4}
    assert report.bytes == sum((tmp_path / name).stat().st_size for name in fetched)
    text = report.text()
    assert text.startswith("7 posters saved (0.0 MB in ")
    assert f"\n17 movies without poster, see {tmp_path / 'download.csv'}:\n" in text
    assert text.endswith("\nthe same command asks again for 4 of them")


def test_again_asks_only_for_what_may_have_come_back(server, tmp_path):
    table = movies(server, good="/good", gone="/status/404", broken="/flaky/5", bad="")
    first = download_posters(table, tmp_path, QUICK)
    assert counts(first) == {"saved": 1, "rejected": 1, "failed": 1, "unreachable": 1}
    second = download_posters(table, tmp_path, QUICK)
    assert counts(second) == {"saved": 1, "present": 1, "rejected": 1, "failed": 1}
    third = download_posters(table, tmp_path, QUICK)
    assert counts(third) == {"present": 2, "rejected": 1, "failed": 1}
    assert server.hits["/flaky/5"] == 6
    assert server.hits["/good"] == server.hits["/status/404"] == 1
    download_posters(table, tmp_path, QUICK, retry_failed=True)
    assert server.hits["/status/404"] == 2
    assert server.hits["/good"] == 1
    moved = movies(server, good="/good", gone="/good/moved")  # another URL of what failed is asked
    assert download_posters(moved, tmp_path, QUICK).counts["saved"] == 1


def test_empty_files_and_leftovers_of_a_kill_are_no_posters(server, tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / ".b.jpg.0123abcd.tmp").write_bytes(POSTER[:99])
    download_posters(movies(server, a="/good", b="/good/b"), tmp_path, QUICK)
    assert posters(tmp_path) == ["a.jpg", "b.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == POSTER


@pytest.mark.parametrize("asked", ["1", "date"])
def test_retry_after_is_waited_for_by_the_whole_host(server, tmp_path, asked):
    options = FetchOptions(per_host=2, backoff=0.0, retries=1)
    download_posters(movies(server, a=f"/wait/{asked}", b="/slow", c="/good"), tmp_path, options)
    assert posters(tmp_path) == ["a.jpg", "b.jpg", "c.jpg"]
    assert server.times[2] - server.times[0] >= (0.95 if asked == "1" else 0.4)


def test_a_server_that_asks_for_too_much_patience_is_left_for_later(server, tmp_path):
    download_posters(movies(server, a="/wait/3600", b="/good"), tmp_path, QUICK)
    line = lines(tmp_path)["a"]
    assert (line["status"], line["http_status"], line["attempts"]) == ("unreachable", "429", "1")
    assert download_posters(movies(server, a="/wait/3600", b="/good"), tmp_path, QUICK).counts["saved"] == 1


def test_a_dripping_server_runs_into_the_time_out(server, tmp_path):
    options = FetchOptions(timeout=0.3, retries=0)
    started = time.monotonic()
    download_posters(movies(server, a="/drip", b="/good"), tmp_path, options)
    assert time.monotonic() - started < 5
    assert lines(tmp_path)["a"]["reason"] == "no whole answer in 0.3 s"


def test_a_host_gets_no_more_than_its_share(server, tmp_path):
    table = movies(server, **{f"m{n}": f"/slow/{n}" for n in range(12)})
    download_posters(table, tmp_path, FetchOptions(workers=12, per_host=3))
    assert 1 < server.most_at_once <= 3


def test_a_dead_host_is_given_up_and_the_living_one_goes_on(server, tmp_path):
    dead = {f"d{n}": f"http://127.0.0.1:9/{n}.jpg" for n in range(60)}
    report = download_posters(movies(server, **dead, a="/good"), tmp_path, QUICK)
    assert report.counts["saved"] == 1
    assert report.counts["unreachable"] == 60
    asked = sum(int(line["attempts"]) > 0 for line in lines(tmp_path).values()) - 1
    assert 5 <= asked <= 12
    assert report.reasons["the host does not answer"] >= 48


def test_a_server_that_dies_in_the_middle_and_comes_back(server, tmp_path):
    table = movies(server, **{f"m{n:02}": f"/good/{n}" for n in range(30)})
    server.dies_after = 8
    first = download_posters(table, tmp_path, FetchOptions(per_host=2, retries=1, backoff=0.01))
    assert counts(first) == {"saved": 8, "unreachable": 22}
    assert sum(server.hits.values()) < 30  # it is not asked for every single one
    server.dies_after = 10**9
    before = server.hits.copy()
    second = download_posters(table, tmp_path, QUICK)
    assert counts(second) == {"saved": 22, "present": 8}
    assert sum((server.hits - before).values()) == 22


def start_download(table: Path, out: Path, count: int) -> subprocess.Popen[str]:
    """A download in a process of its own, to be killed: returns when so many posters are there."""
    code = (
        "import sys; from pathlib import Path; from poster_ml.commands.download import run_download;"
        "run_download(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)"
    )
    command = [sys.executable, "-c", code, str(table), str(out)]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(lambda: len(list(out.glob("[!.]*.jpg"))) >= count)
    return process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on_without_fetching_anything_twice(server, tmp_path, how):
    paths = {f"m{n:02}": f"/status/404/{n}" if n % 8 == 0 else f"/slow/{n}" for n in range(40)}
    table, out = tmp_path / "table.csv", tmp_path / "posters"
    movies(server, **paths).assign(title="x", tomatometer_status="Fresh").to_csv(table, index=False)
    process = start_download(table, out, 10)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (how == signal.SIGINT)
    kept = list(out.glob("[!.]*.jpg"))
    assert 10 <= len(kept) < 35
    assert all(path.read_bytes() == POSTER for path in kept)

    report = run_download(table, out)
    expected = {"saved": 35 - len(kept), "present": len(kept), "failed": 5}
    assert counts(report) == expected
    # Under way when the kill came: asked again, at most the two that may run at once.
    assert sum(count == 2 for count in server.hits.values()) <= 2
    assert max(server.hits.values()) <= 2
    assert list(lines(out)) == list(paths)
    assert not list(out.glob(".*.tmp"))


def test_nothing_at_all_is_an_error_that_says_why(server, tmp_path):
    table = movies(server, a="/status/404", b="/status/404/2", c="")
    assert refusal(DownloadError, download_posters, table, tmp_path, QUICK) == (
        "no poster could be downloaded for any of 3 movies, mostly: the server answers 404; "
        f"see {tmp_path / 'download.csv'} for each"
    )


def test_the_output_folder_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"cannot write to .*file/posters: Not a directory"):
        download_posters(movies(server, a="/good"), tmp_path / "file" / "posters", QUICK)


def test_run_download_reads_the_table(server, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        f"movie_id,title,tomatometer_status,cover\n../a,A,Fresh,{server.url}/good\nb,B,NA,{server.url}/b\n"
    )
    with pytest.raises(TableError, match=r"no column for the image_url"):
        run_download(table, tmp_path / "posters")
    report = run_download(table, tmp_path / "posters", columns=["image_url=cover"])
    assert report.counts["saved"] == 1
    assert posters(tmp_path / "posters") == ["a.jpg"]
    assert not server.hits["/b"]


@pytest.mark.parametrize(
    ("reason", "urls"),
    [
        ("", ["https://x.test/a.jpg", "HTTP://x.test/m/kino_poster.jpg"]),
        ("no URL", [""]),
        ("not a whole http or https URL", [
            "http://[x/a.jpg", "/assets/images/x.gif", "//x.test/a.jpg", "poster.jpg", "https:///a.jpg", "file:///etc/passwd",
        ]),
        ("a placeholder by its name", ["https://x.test/m/poster_default.c8e9.gif?x=/y", "https://x.test/no_image.png"]),
    ],
)  # fmt: skip
def test_unusable_urls(reason, urls):
    assert [unusable_url(url) for url in urls] == [reason] * len(urls)


def test_a_record_torn_by_a_kill_is_read_and_continued(server, tmp_path):
    record = tmp_path / "download.csv"
    whole = Outcome("a", 'http://x.test/"1",2', Status.FAILED, http_status=404, attempts=1, reason="gone")
    write_record(record, [whole])
    with record.open("a") as handle:
        handle.write("b,http://x.test/2,fai")
    assert read_record(record) == {"a": whole}
    table = movies(server, a=whole.url, c="/good")
    assert download_posters(table, tmp_path, QUICK).counts["failed"] == 1
    assert list(read_record(record)) == ["a", "c"]


def test_on_a_cluster_one_worker_at_a_time_asks_a_host(server, tmp_path, monkeypatch):
    monkeypatch.setattr("poster_ml.data.download._URLS_PER_TASK", 10)
    paths = {f"m{number:02d}": f"/slow/{number}" for number in range(30)}
    table = movies(
        server, **paths, gone="/status/404", ftp="ftp://x.test/a.jpg", nobody="http://127.0.0.1:1/a"
    )
    options = FetchOptions(retries=0, timeout=5)
    monkeypatch.chdir(tmp_path)
    report = download_posters(table, Path("out"), options, open_client=lambda: open_cluster(2))
    assert counts(report) == {"saved": 30, "failed": 1, "rejected": 1, "unreachable": 1}
    assert server.most_at_once <= options.per_host
    assert len(posters(tmp_path / "out")) == 30
    assert list(lines(tmp_path / "out")) == list(table["movie_id"])
    assert set(server.hits.values()) == {1}


def test_a_host_that_is_given_up_is_asked_no_further_on_a_cluster(server, tmp_path, monkeypatch):
    """And a picture that kills its worker fails alone; the cluster is played."""

    def played(client, task, items, batch, in_flight=0):
        for item in items:
            yield [item], None if server.url + "/good/bomb" in dict(item[1]) else task([item])

    monkeypatch.setattr("poster_ml.cluster.map_in_order", played)
    monkeypatch.setattr("poster_ml.data.download._URLS_PER_TASK", 20)
    dead = {f"dead{number:02d}": f"http://127.0.0.1:1/{number}.jpg" for number in range(40)}
    table = movies(server, bomb="/good/bomb", beside="/good/beside", **dead)
    report = download_posters(
        table, tmp_path, FetchOptions(retries=0), open_client=lambda: nullcontext(object())
    )
    assert counts(report) == {"saved": 1, "failed": 1, "unreachable": 40}
    found = lines(tmp_path)
    assert found["bomb"]["reason"] == "decoding it crashed its worker repeatedly"
    assert [found[name]["attempts"] for name in dead].count("1") < 10
