"""How the page looks: its HTML fragments, its theme without anything from elsewhere, its pictures."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from poster_ml.app import sentences

FOLDER = Path(__file__).parent
STYLE = FOLDER / "style.css"


@cache
def _environment() -> Environment:
    loader = PackageLoader("poster_ml.app", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals |= {
        name: getattr(sentences, name) for name in ("percent", "points", "similar", "with_metadata")
    }
    return environment


def fragment(template: str, /, **values: Any) -> str:
    """Returns `templates/TEMPLATE.html.j2` as HTML, everything from outside escaped."""
    return _environment().get_template(f"{template}.html.j2").render(values)


def hint(text: str) -> str:
    """Returns a quiet line."""
    return fragment("said", text=text, kind="hint", role="status")


def problem(text: str) -> str:
    """Returns a line that says what went wrong, announced by screen readers."""
    return fragment("said", text=text, kind="problem", role="alert")


def script(name: str) -> str:
    """Returns `NAME.js`, what an HTML field does in the browser."""
    return (FOLDER / f"{name}.js").read_text(encoding="utf-8")


def theme() -> Any:
    """Returns a theme with the fonts of the machine that looks: nothing is fetched from elsewhere."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue="orange",
        neutral_hue="stone",
        font=["system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )


def data_uri(picture: np.ndarray | Image.Image) -> str:
    """Returns a picture, (H, W, 3) uint8 or opened, as a data URI of a JPEG."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=88)
    return file_uri(buffer.getvalue(), "image/jpeg")


def file_uri(content: bytes, kind: str) -> str:
    """Returns a file's content as a data URI, for example of kind `text/csv`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
