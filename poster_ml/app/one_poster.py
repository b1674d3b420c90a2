"""The tab for one poster: how likely, why, what is alike, and what hiding a part changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from poster_ml.app.about import About
from poster_ml.app.fields import PosterImage, movie_fields
from poster_ml.app.look import data_uri, fragment
from poster_ml.app.sentences import hidden_box
from poster_ml.app.service import Question, Service, ask_kindly
from poster_ml.app.uploads import Upload, read_upload
from poster_ml.errors import RequestError

NEIGHBOURS = 8
JUST = 0.05  # from the threshold, within which a label is said to be only just so


def add(service: Service, about: About) -> None:
    """Adds the tab's content."""
    upload = gr.State(None)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            picture = PosterImage(label="Poster: drop, click or paste", sources=["upload", "clipboard"])
            year, genres = movie_fields(about)
            if about.examples:
                gr.Examples([[path] for path in about.examples], [picture], label="Or try one of these")
        with gr.Column(scale=3, min_width=320):
            answer = gr.HTML(fragment("hint", text="Drop a poster to see what the model makes of it."))
    with gr.Accordion("The most alike posters it was trained on", open=False):
        alike = gr.HTML(fragment("hint", text="They appear here when a poster was dropped."))
    with gr.Accordion("Hide a part of the poster", open=False):
        gr.Markdown("Choose a box, in percent of the poster from its upper left corner.")
        with gr.Row():
            sides = [
                gr.Slider(0, 100, value=value, step=1, label=label)
                for label, value in (("Left", 25), ("Top", 70), ("Right", 75), ("Bottom", 90))
            ]
        hide = gr.Button("What if this part were not there?")
        changed = gr.HTML("")

    def take(path: str | None, year: str, genres: list[str] | None) -> tuple[Any, str, str]:
        if path is None:
            return None, fragment("hint", text="Drop a poster to see what the model makes of it."), ""
        try:
            poster = read_upload(path)
        except RequestError as error:
            return None, fragment("problem", text=str(error)), ""
        return (poster, *_answer(service, about, poster, year, genres))

    def again(poster: Upload | None, year: str, genres: list[str] | None) -> tuple[Any, ...]:
        return (gr.skip(), gr.skip()) if poster is None else _answer(service, about, poster, year, genres)

    def without(poster: Upload | None, *edges: float) -> str:
        if poster is None:
            return fragment("problem", text="Drop a poster first.")
        params = {"what_if": [edge / 100 for edge in edges]}
        rows, problem = ask_kindly(service, Question([poster.content], params=params))
        problem = problem or rows[0]["error"] or ""
        if problem:
            return fragment("problem", text=problem)
        return fragment("hint", text=hidden_box(rows[0]["what_if"][0]))

    picture.change(take, [picture, year, genres], [upload, answer, alike], show_progress="minimal")
    for field in (year, genres):
        field.change(again, [upload, year, genres], [answer, alike], show_progress="hidden")
    hide.click(without, [upload, *sides], changed)


def _answer(
    service: Service, about: About, poster: Upload, year: str, genres: list[str] | None
) -> tuple[str, str]:
    """Returns the answer and the most alike posters, as HTML."""
    params = {"explain": True, "evidence": True, "neighbours": NEIGHBOURS}
    plain = Question([poster.content], year, tuple(genres or ()))
    rows, problem = ask_kindly(service, replace(plain, params=params))
    if problem:  # a model that was logged without other posters, or is quantized, still answers plainly
        rows, problem = ask_kindly(service, plain)
    if problem or rows[0]["error"]:
        return fragment("problem", text=problem or rows[0]["error"]), ""
    row = rows[0]
    sure = abs(row["probability_fresh"] - row["threshold"]) >= JUST
    picture = data_uri(poster.picture(about.size)) if row.get("cam_png") else ""
    found = row.get("neighbours") or []
    alike = fragment(
        "neighbours",
        rows=found,
        pictures=[about.pictures.get(one["movie_id"], "") for one in found],
        fresh=sum(one["label"] == "Fresh" for one in found),
    )
    return fragment("answer", row=row, sure=sure, picture=picture), alike
