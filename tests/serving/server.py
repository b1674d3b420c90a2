"""A real `mlflow models serve` process, and how tests talk to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.programs import wait_for

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
            raise AssertionError(f"{constant} is not JSON: {body[:300]}")

        return json.loads(body, parse_constant=refuse)["predictions"]

    def megabytes(self) -> float:
        """Memory of the server and its workers."""
        family = [psutil.Process(self.process.pid)]
        family += family[0].children(recursive=True)
        return sum(member.memory_info().rss for member in family) / 1e6

    def alive(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=60) as response:
            return response.status == 200 and self.process.poll() is None


@contextmanager
def running_server(model: Path, log: Path) -> Iterator[Server]:
    """Serves the model in a folder until the block ends; what the process says goes to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)]
    command += ["--env-manager", "local", "-p", str(port), "-h", "127.0.0.1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "UVICORN_LIMIT_CONCURRENCY": str(MOST_CONNECTIONS), "PATH": path}
    with log.open("wb") as output:
        where = {"cwd": log.parent, "env": environment}
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **where)
        try:
            server = Server(port, process)
            _wait(server, log)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait(server: Server, log: Path) -> None:
    def answers() -> bool:
        assert server.process.poll() is None, log.read_text()[-3000:]
        with suppress(OSError):
            return server.alive()
        return False

    wait_for(answers, 240, pause=0.2)
