"""What the service adds to the bare network: latency and posters per second, side by side in one run.

    python -m benchmarks.serving                    # MobileNetV2, random weights, 224 pixels
    python -m benchmarks.serving --model-uri models:/poster-vgg16@champion
    python -m benchmarks.serving --explain          # every answer with its map

Prints the forward pass alone, the same network behind `PosterModel`, and a real `mlflow models serve` process
with 1, 4 and 16 clients of one poster per request, then the size of a request against the JSON tensor way.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import alternate, logged_model
from tests.serving.server import Server, running_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model-uri", default="", help="default: a MobileNetV2 with random weights")
    parser.add_argument("--requests", type=int, default=48, help="requests per number of clients")
    parser.add_argument("--explain", action="store_true", help="ask the server for maps")
    arguments = parser.parse_args()
    asked = {"params": {"explain": True}} if arguments.explain else {}
    body = {"inputs": {"image": [base64.b64encode(_poster()).decode()]}} | asked
    with tempfile.TemporaryDirectory() as temporary:
        folder = _model_folder(arguments.model_uri, Path(temporary))
        poster = _poster()
        bare = _measure_in_process(folder, poster)
        with running_server(folder, Path(temporary) / "server.log") as server:
            for clients in (1, 4, 16):
                _measure_clients(server, body, clients, arguments.requests, bare)
        _compare_sizes(folder, poster)


def _model_folder(model_uri: str, temporary: Path) -> Path:
    import keras

    from poster_ml.serving.load import model_folder

    if model_uri:
        return model_folder(model_uri)
    inputs = keras.Input((224, 224, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    backbone = keras.applications.MobileNetV2(
        input_tensor=scaled, weights=None, include_top=False, pooling="avg"
    )
    network = keras.Model(inputs, keras.layers.Dense(1, name="logit")(backbone.output))
    return model_folder(logged_model(network, temporary, size=224, variant="benchmark"))


def _poster() -> bytes:
    """A picture of the size of the real posters, with about as many bytes."""
    from PIL import Image

    blocks = np.random.default_rng(0).integers(0, 256, (67, 45, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((182, 268), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _measure_in_process(folder: Path, poster: bytes) -> float:
    """Prints the bare forward pass and the model around it; returns posters per second of the former."""
    import pandas as pd

    from poster_ml.serving.load import load_poster_model

    model = load_poster_model(str(folder))
    inner = model.unwrap_python_model()
    size = inner.settings.size
    text = base64.b64encode(poster).decode()
    print(f"poster of {len(poster):,} bytes, network input {size}x{size}, {os.cpu_count()} cores\n")
    bare_alone = 0.0
    for count in (1, 16, 64):
        pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        table = pd.DataFrame({"image": [text] * count})
        ways = {
            "bare": lambda pixels=pixels: inner.network.predict_on_batch(pixels),
            "whole": lambda table=table: model.predict(table),
        }
        bare, whole = (count / seconds for seconds in alternate(ways, 7).values())
        bare_alone = bare_alone or bare
        print(
            f"batch {count:3d}: bare forward {bare:7.1f} posters/s, model with decoding {whole:7.1f} "
            f"({whole / bare:.2f} of bare)"
        )
    return bare_alone


def _measure_clients(server: Server, body: dict[str, Any], clients: int, requests: int, bare: float) -> None:
    latencies: list[float] = []

    def client(count: int) -> None:
        for _ in range(count):
            started = time.perf_counter()
            row = server.score(body)[0]
            if row["error"]:
                raise RuntimeError(row["error"])
            latencies.append(time.perf_counter() - started)

    client(2)
    latencies.clear()
    threads = [threading.Thread(target=client, args=(max(1, requests // clients),)) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(latencies) / (time.perf_counter() - started)
    middle, high = np.percentile(latencies, [50, 95]) * 1000
    print(
        f"server, {clients:2d} clients: p50 {middle:6.1f} ms, p95 {high:6.1f} ms, {rate:6.1f} posters/s "
        f"({rate / bare:.2f} of the bare forward pass, one poster at a time)"
    )


def _compare_sizes(folder: Path, poster: bytes) -> None:
    from poster_ml.data.images import decode_poster
    from poster_ml.serving.settings import read_settings

    settings = read_settings(folder / "artifacts" / "settings.json")
    pixels = decode_poster(poster, settings.size, settings.fit).pixels
    ours = len(json.dumps({"inputs": {"image": [base64.b64encode(poster).decode()]}}))
    tensor = len(json.dumps({"inputs": [(pixels / 255.0).round(6).tolist()]}))
    print(f"\nrequest: {ours:,} bytes as base64, {tensor:,} as a JSON tensor ({tensor / ours:.0f} times)")


if __name__ == "__main__":
    main()
