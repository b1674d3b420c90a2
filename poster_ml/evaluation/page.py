"""The report page and the model card: small dataclasses, written by the templates beside this module.

The page is one HTML file that loads nothing; every text is escaped by the template.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from poster_ml.files import atomic_path


@dataclass(frozen=True)
class Headline:
    """One large number: what it is, the number, and what stands under it."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class PageFigure:
    """One PNG or JPEG; `caption` says what it shows, in print and aloud. `wide`: a row of its own."""

    path: Path
    caption: str
    wide: bool = True


@dataclass(frozen=True)
class PageTable:
    """One table; every row has as many cells as there are columns, the first names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class PageSection:
    """A heading with findings, what is to be known to read them, figures and tables; each may be empty."""

    title: str
    findings: Sequence[str] = ()
    paragraphs: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[PageTable] = ()

    def is_empty(self) -> bool:
        """Says whether there is nothing below the heading."""
        return not (self.findings or self.paragraphs or self.figures or self.tables)


@dataclass(frozen=True)
class ReportPage:
    """What the page shows, from top to bottom: plain text, two to four headlines, sections."""

    title: str
    subtitle: str
    headlines: Sequence[Headline] = ()
    sections: Sequence[PageSection] = ()


def write_page(path: Path, page: ReportPage) -> Path:
    """Writes the page as one HTML file that shows the same everywhere, offline too.

    Args:
        path: the file to write; its folder is created.
        page: sections without content are left out; figures are put into the file (base64), each must exist.

    Returns: the path.
    """
    shown = replace(page, sections=[section for section in page.sections if not section.is_empty()])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(render("report.html.j2", page=shown), encoding="utf-8")
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
