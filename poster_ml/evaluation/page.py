"""The report page and the model card, written by the templates beside this module.

The page is one HTML file that loads nothing; every text is escaped by the template.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from poster_ml.files import write_text


@dataclass(frozen=True)
class PageSection:
    """A heading and what stands below it; all but the title may be empty.

    findings, paragraphs: what was found, and what is to be known to read it. figures: PNG or JPEG
    files with captions, which say what they show, in print and aloud; `wide` gives each a row of
    its own. table: texts; the first column names the row.
    """

    title: str
    findings: Sequence[str] = ()
    paragraphs: Sequence[str] = ()
    figures: Mapping[Path, str] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    wide: bool = True


def write_page(
    path: Path,
    title: str,
    subtitle: str,
    headlines: Sequence[tuple[str, str, str]] = (),
    sections: Sequence[PageSection] = (),
) -> Path:
    """Writes the page as one HTML file that shows the same everywhere, offline too.

    Args:
        path: the file to write; its folder is created.
        title, subtitle: plain text.
        headlines: large numbers: what each is, the number, and what stands under it.
        sections: those without content are left out; figures are put into the file (base64), each must exist.

    Returns: the path.
    """
    filled = [
        one for one in sections if one.findings or one.paragraphs or one.figures or one.table is not None
    ]
    page = {"title": title, "subtitle": subtitle, "headlines": headlines, "sections": filled}
    write_text(path, render("report.html.j2", page=page))
    return path


def render(template: str, **values: Any) -> str:
    """Fills a template of this package; no value can become markup, an unknown name is an error.

    Args:
        template: `*.html.j2`, where values are escaped, or `*.md.j2`, where they are kept on their line.
        values: by the names that the template uses.
    """
    markdown = template.endswith(".md.j2")
    environment = Environment(
        loader=PackageLoader("poster_ml.evaluation"),
        autoescape=not markdown,
        finalize=_line if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["image"] = _image
    return environment.get_template(template).render(**values)


def _line(value: object) -> str:
    """Keeps a value in Markdown on one line, inside its table cell, and no HTML."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def _image(path: Path) -> Mapping[str, Any]:
    """Returns an image as a data URI, and its size, which keeps its place while the page is drawn."""
    with Image.open(path) as picture:
        kind, (width, height) = picture.get_format_mimetype(), picture.size
    content = base64.b64encode(path.read_bytes()).decode()
    return {"source": f"data:{kind};base64,{content}", "width": width, "height": height}
