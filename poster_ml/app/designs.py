"""The tab that compares designs: in order, with what such differences have been worth."""

from __future__ import annotations

import base64
import csv
import io
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr

from poster_ml.app.about import About
from poster_ml.app.fields import movie_fields
from poster_ml.app.look import STYLE, data_uri, fragment
from poster_ml.app.sentences import design_pair
from poster_ml.app.service import Question, Row, Service, ask_kindly
from poster_ml.app.uploads import Upload, read_upload
from poster_ml.errors import RequestError

FEWEST, MOST = 2, 12
_COLUMNS = ("rank", "design", "probability_fresh", "probability_combined", "poster_effect", "error")


def add(service: Service, about: About) -> None:
    """Adds the tab's content."""
    gr.Markdown(f"{FEWEST} to {MOST} designs of one movie. The likeliest Fresh comes first.")
    files = gr.Files(label="Designs: drop or click", file_types=["image"])
    with gr.Row():
        year, genres = movie_fields(about)
    compare = gr.Button("Compare", variant="primary")
    answer = gr.HTML("")
    with gr.Row():
        table = gr.DownloadButton("Table as CSV", visible=False)
        page = gr.DownloadButton("Report as one page", visible=False)

    def run(paths: list[str] | None, year: str, genres: list[str] | None) -> tuple[Any, ...]:
        hidden = gr.DownloadButton(visible=False)
        try:
            uploads = [read_upload(path) for path in paths or []]
            if not FEWEST <= len(uploads) <= MOST:
                raise RequestError(f"{len(uploads)} designs were dropped: give {FEWEST} to {MOST}")
        except RequestError as error:
            return fragment("problem", text=str(error)), hidden, hidden
        question = Question(
            [upload.content for upload in uploads],
            year=year,
            genres=tuple(genres or ()),
            params={"rank": True, "explain": True},
        )
        rows, problem = ask_kindly(service, question)
        if problem:
            return fragment("problem", text=problem), hidden, hidden
        shown = _content(uploads, rows, about)
        written = _files(shown, uploads, rows)
        return shown, *(gr.DownloadButton(value=str(path), visible=True) for path in written)

    compare.click(run, [files, year, genres], [answer, table, page])


def _order(rows: list[Row]) -> list[int]:
    """Returns positions, the likeliest Fresh first, those without an answer last."""
    return sorted(range(len(rows)), key=lambda row: (rows[row]["rank"] is None, rows[row]["rank"] or 0))


def _content(uploads: list[Upload], rows: list[Row], about: About) -> str:
    """Returns designs in order with their maps, and a sentence per neighbouring pair."""
    order = _order(rows)
    scored = [row for row in order if rows[row]["rank"] is not None]
    sentences = []
    for first, second in pairwise(scored):
        pair = next(pair for pair in rows[first]["pairs"] if pair["other"] == second)
        sentences.append(design_pair(pair, uploads[first].name, uploads[second].name))
    designs = [
        {
            **rows[row],
            "name": uploads[row].name,
            "picture": data_uri(uploads[row].picture(about.size)) if rows[row]["rank"] is not None else "",
        }
        for row in order
    ]
    return fragment("designs", designs=designs, sentences=sentences)


def _files(shown: str, uploads: list[Upload], rows: list[Row]) -> tuple[Path, Path]:
    """Writes the table and the report into a temporary folder that Gradio empties."""
    folder = Path(tempfile.mkdtemp(prefix="poster-ml-app-"))
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in _order(rows):
        writer.writerow({**rows[row], "design": uploads[row].name})
    (folder / "designs.csv").write_text(text.getvalue(), encoding="utf-8")
    style = base64.b64encode(STYLE.read_bytes()).decode("ascii")
    report = fragment("report", content=shown, style=f"data:text/css;base64,{style}")
    (folder / "designs.html").write_text(report, encoding="utf-8")
    return folder / "designs.csv", folder / "designs.html"
