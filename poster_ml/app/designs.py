"""The tab that compares designs: in order, with what such differences have been worth."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gradio as gr
import pandas as pd

from poster_ml.app.about import About
from poster_ml.app.fields import movie_fields
from poster_ml.app.look import STYLE, data_uri, file_uri, fragment, hint, problem
from poster_ml.app.sentences import design_pair
from poster_ml.app.uploads import Upload, read_upload
from poster_ml.errors import PosterMLError
from poster_ml.serving.client import Question, Row, Service, ask_kindly

FEWEST, MOST = 2, 12
COLUMNS = ("rank", "design", "probability_fresh", "probability_combined", "poster_effect", "note", "error")
WELCOME = f"Drop {FEWEST} to {MOST} designs of one movie. The likeliest Fresh comes first."


def add(service: Service, about: About) -> None:
    """Adds the tab's content."""
    designs = gr.State([], time_to_live=3600)
    with gr.Row():
        with gr.Column(scale=3, min_width=260):
            files = gr.File(
                label="Designs: drop or click; more can follow", file_count="multiple", height=150
            )
            year, genres = movie_fields(about)
            clear = gr.Button("Start again")
        with gr.Column(scale=8, min_width=300):
            answer = gr.HTML(hint(WELCOME), elem_classes="pm-live")

    def take(
        paths: list[str] | None, designs: list[Upload], year: str, genres: list[str] | None
    ) -> tuple[Any, ...]:
        if not paths:  # the field was emptied below
            return (gr.skip(),) * 3
        said, taken = [], list(designs)
        for path in paths:
            try:
                taken.append(read_upload(path))
            except PosterMLError as error:
                said.append(str(error))
        if len(taken) > MOST:
            said.append(
                f"{len(taken)} designs were dropped, at most {MOST} are compared: the first {MOST} are"
            )
        taken = taken[:MOST]
        return taken, None, "".join(map(problem, said)) + _compared(service, about, taken, year, genres)

    def again(designs: list[Upload], year: str, genres: list[str] | None) -> str:
        return _compared(service, about, designs, year, genres)

    movie = [year, genres]
    files.upload(take, [files, designs, *movie], [designs, files, answer], show_progress="minimal")
    for field in movie:
        field.change(again, [designs, *movie], answer, show_progress="hidden")
    clear.click(lambda: ([], None, hint(WELCOME)), None, [designs, files, answer], show_progress="hidden")


def _compared(
    service: Service, about: About, designs: list[Upload], year: str, genres: list[str] | None
) -> str:
    """Returns designs in order with their maps, a sentence per neighbouring pair, and two files to keep."""
    if len(designs) < FEWEST:
        return hint(f"{designs[0].name} is here: add at least one more design." if designs else WELCOME)
    given = tuple(genres or ())
    question = Question([one.content for one in designs], year, given, {"rank": True, "explain": True})
    rows, said = ask_kindly(service, question, {"rank": True})
    if said:
        return problem(said)
    ordered = _in_order(designs, rows, about)
    shown = fragment("designs", designs=ordered, sentences=_sentences(ordered))
    movie = ", ".join(filter(None, (year.strip(), *given)))
    report = fragment(
        "report", content=shown, style=STYLE.read_text(encoding="utf-8"), model=about.name, movie=movie
    )
    table = pd.DataFrame(ordered, columns=list(COLUMNS), dtype=object)
    files = {
        "designs.csv": file_uri(table.to_csv(index=False, lineterminator="\r\n").encode(), "text/csv"),
        "designs.html": file_uri(report.encode(), "text/html"),
    }
    return fragment("downloads", files=files) + shown


def _in_order(designs: list[Upload], rows: list[Row], about: About) -> list[Row]:
    """Returns rows with names and pictures, the likeliest Fresh first, those without an answer last."""
    found = []
    for number, (design, row) in enumerate(zip(designs, rows, strict=True)):
        scored = row["rank"] is not None
        picture = data_uri(design.picture(about.size, about.fit)) if scored else ""
        found.append({**row, "number": number, "design": design.name, "picture": picture})
    return sorted(found, key=lambda row: (row["rank"] is None, row["rank"] or 0))


def _sentences(ordered: list[Row]) -> list[str]:
    found = []
    for first, second in pairwise(row for row in ordered if row["rank"] is not None):
        pair = next(pair for pair in first["pairs"] if pair["other"] == second["number"])
        found.append(design_pair(pair, first["design"], second["design"]))
    return found
