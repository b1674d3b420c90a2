r"""The screenshots of docs/app.md: every tab at three widths, light and dark, with synthetic posters.

    make demo
    python benchmarks/app_screenshots.py --out docs/figures \
        --only one_1280_light compare_1280_dark one_390_dark about_1280_light

Without --only: all of them, into a folder to look at. Needs the extra `app`, Playwright, Debian's Chromium.
"""

from __future__ import annotations

import argparse
import io
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from poster_ml.synthetic.writing import write_posters

WIDTHS = (390, 1280, 1920)
SCHEMES = ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--model-uri", default="models:/poster-cnn@champion", help="default: that of the demo"
    )
    parser.add_argument("--data", type=Path, default=Path("demo/prepared"), help="its prepared dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder for app_TAB_WIDTH_SCHEME.webp")
    parser.add_argument("--only", nargs="*", help="TAB_WIDTH_SCHEME")
    arguments = parser.parse_args()
    from poster_ml.app.page import serve_page
    from poster_ml.commands.app import built_page

    arguments.out.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        tempfile.TemporaryDirectory() as drawn,
        built_page(arguments.model_uri, arguments.data) as (page, folder),
        sync_playwright() as playwright,
    ):
        write_posters(Path(drawn) / "drawn", count=40, seed=11, bayes_accuracy=1.0)
        posters = sorted((Path(drawn) / "drawn" / "posters").iterdir())
        address = serve_page(page, "127.0.0.1", port, folder)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for width in WIDTHS:
            for scheme in SCHEMES:
                wanted = [name for name in arguments.only or [] if name.endswith(f"_{width}_{scheme}")]
                if arguments.only and not wanted:
                    continue
                visitor = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                visitor.goto(address)
                for tab in _tabs(visitor, posters):
                    name = f"{tab}_{width}_{scheme}"
                    if not arguments.only or name in wanted:
                        _save(visitor, arguments.out / f"app_{name}.webp")
                visitor.close()
        browser.close()
        page.close(verbose=False)


def _tabs(visitor: Any, posters: list[Path]) -> Iterator[str]:
    """Fills one tab after the other, and names each when it is to be taken."""
    visitor.get_by_text("Or try one of these").wait_for()
    _give(visitor, "Poster:", posters[:1])
    visitor.locator(".pm-answer").wait_for()
    visitor.get_by_label("Year, if known").fill("1999")
    visitor.get_by_text("Movies of its year").wait_for()
    visitor.get_by_text("Hide a part of the poster").click()
    visitor.get_by_role("button", name="What if").click()
    visitor.get_by_text("Without this part").wait_for()
    visitor.get_by_role("button", name="The most alike posters").click()
    visitor.get_by_role("button", name="Inside the network").click()
    visitor.locator(".pm-layer img").wait_for()
    yield "one"
    visitor.get_by_role("tab", name="Compare").click()
    _give(visitor, "Designs:", posters[1:5])
    visitor.locator(".pm-designs").wait_for()
    yield "compare"
    visitor.get_by_role("tab", name="Many").click()
    _give(visitor, "Posters or ZIP", posters)
    visitor.get_by_text("could not be scored").wait_for()
    yield "many"
    visitor.get_by_role("tab", name="About").click()
    yield "about"


def _give(visitor: Any, label: str, files: list[Path]) -> None:
    field = visitor.locator(".block", has_text=label).locator("input[type=file]").first
    field.set_input_files([str(file) for file in files])


def _save(visitor: Any, path: Path) -> None:
    visitor.evaluate("scrollTo(0, 0)")
    visitor.wait_for_timeout(700)  # for what fades in
    with Image.open(io.BytesIO(visitor.screenshot(full_page=True))) as image:
        image.save(path, quality=85, method=6)


if __name__ == "__main__":
    main()
