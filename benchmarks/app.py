"""What the page adds to a prediction with its map, and whether its memory stays: in a real browser.

    python benchmarks/app.py                        # VGG-16, random weights, 224 pixels
    python benchmarks/app.py --model-uri models:/poster-vgg16@champion

Prints the forward pass plus map alone and the time from a drop to the answer on the page, in turn:
elapsed, and of the processor, which other work on the machine does not lengthen. Then the memory of
the process after every 50 of 200 uploads. Needs the extra `app`, Playwright and Debian's Chromium.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import socket
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _measure import alternate, logged_model, machine
from PIL import Image
from playwright.sync_api import sync_playwright

from poster_ml.quiet import load_keras

# Lets go of a file over the field, and waits until the answer to it stands on the page.
DROP = """([name, text]) => new Promise((done) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, {type: 'image/jpeg'}));
    const there = () => document.querySelector(`.pm-stack img[alt="${name}"]`);
    const watch = new MutationObserver(() => { if (there()) { watch.disconnect(); done(); } });
    watch.observe(document, {childList: true, subtree: true, attributes: true});
    const drop = new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: carried});
    document.querySelector('#poster button').dispatchEvent(drop);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model-uri", default="", help="default: a VGG-16 with random weights")
    parser.add_argument("--rounds", type=int, default=15, help="timed drops")
    parser.add_argument("--uploads", type=int, default=200, help="uploads whose memory is watched")
    arguments = parser.parse_args()
    load_keras()
    from poster_ml.app.page import serve_page
    from poster_ml.commands.app import built_page

    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        uri = arguments.model_uri or _random_model(Path(temporary))
        with built_page(uri) as (page, folder), socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
            free.close()
            address = serve_page(page, "127.0.0.1", port, folder)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                visitor = browser.new_page()
                visitor.goto(address)
                visitor.get_by_text("Or try one of these").wait_for()
                _measure(uri, visitor, arguments.rounds)
                _watch_memory(visitor, arguments.uploads)
                browser.close()
            page.close(verbose=False)


def _measure(uri: str, visitor: Any, rounds: int) -> None:
    from poster_ml.explain.maps import Explainer
    from poster_ml.serving.load import load_poster_model

    served = load_poster_model(uri).unwrap_python_model()
    explainer = Explainer(served.network)
    pixels = np.random.default_rng(0).integers(
        0, 256, (1, served.settings.size, served.settings.size, 3), np.uint8
    )
    drops = iter(range(rounds + 1))

    def bare() -> None:
        served.network.predict_on_batch(pixels)
        explainer.explain(pixels)

    worked: dict[str, list[float]] = {"forward pass and map": [], "drop": []}
    ways = {"forward pass and map": bare, "drop": lambda: _drop(visitor, next(drops))}

    def counted(name: str) -> None:
        before = time.process_time()
        ways[name]()
        worked[name].append(time.process_time() - before)

    seconds = alternate({name: partial(counted, name) for name in ways}, rounds)
    processor = {name: statistics.median(values[1:]) for name, values in worked.items()}
    for what, found in (("elapsed", seconds), ("processor time of this process", processor)):
        bare_seconds, drop_seconds = found.values()
        print(f"{what:<32}{1000 * bare_seconds:8.0f} ms bare {1000 * drop_seconds:8.0f} ms drop", end="")
        print(f"   ratio {drop_seconds / bare_seconds:.2f}")


def _watch_memory(visitor: Any, uploads: int) -> None:
    process = psutil.Process(os.getpid())
    for number in range(uploads):
        if number % 50 == 0:
            print(f"after {number:>4} uploads {process.memory_info().rss / 2**20:8.0f} MiB", flush=True)
        _drop(visitor, 1000 + number)
    print(f"after {uploads:>4} uploads {process.memory_info().rss / 2**20:8.0f} MiB")


def _drop(visitor: Any, number: int) -> None:
    """Drops a poster of its own, of 600 x 900 pixels."""
    colours = np.random.default_rng(number).integers(0, 256, (9, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize((600, 900), Image.Resampling.BICUBIC).save(buffer, format="JPEG")
    visitor.evaluate(DROP, [f"poster{number}.jpg", base64.b64encode(buffer.getvalue()).decode()])


def _random_model(temporary: Path) -> str:
    import keras

    inputs = keras.Input((224, 224, 3), dtype="uint8")
    features = keras.applications.VGG16(
        weights=None, include_top=False, input_tensor=keras.layers.Rescaling(1 / 255)(inputs)
    )
    pooled = keras.layers.GlobalAveragePooling2D()(features.output)
    network = keras.Model(inputs, keras.layers.Dense(1, name="logit")(pooled))
    return logged_model(network, temporary, size=224, variant="vgg16", family="vgg16")


if __name__ == "__main__":
    main()
