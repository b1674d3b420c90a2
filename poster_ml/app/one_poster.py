"""The tab for one poster: how likely, why, what is alike, and what hiding a part changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from poster_ml.app.about import About
from poster_ml.app.fields import movie_fields
from poster_ml.app.look import data_uri, file_uri, fragment, hint, problem, script
from poster_ml.app.sentences import hidden_box
from poster_ml.app.uploads import Upload, read_upload
from poster_ml.errors import PosterMLError
from poster_ml.serving.client import Question, Row, Service, ask_kindly

NEIGHBOURS = 8
JUST = 0.05  # from the threshold, within which a label is said to be only just so
WELCOME = "Drop a poster, paste one from the clipboard, or try one of the examples."
LATER = "They appear here once there is a poster."


def add(service: Service, about: About, examples: Sequence[Path]) -> None:
    """Adds the tab's content."""
    poster = gr.State(None, time_to_live=3600)
    with gr.Row():
        with gr.Column(scale=3, min_width=260):
            file = gr.File(label="Poster: drop, paste or click", height=150, elem_id="poster")
            tried = gr.HTML(_example_buttons(examples), js_on_load=script("examples"))
            year, genres = movie_fields(about)
        with gr.Column(scale=4, min_width=300):
            answer = gr.HTML(hint(WELCOME), elem_classes="pm-live")
        with gr.Column(scale=4, min_width=300):
            stage = gr.HTML("", js_on_load=script("stage"))
            changed = gr.HTML("", elem_classes="pm-live")
    with gr.Accordion("The most alike posters it was trained on", open=False):
        alike = gr.HTML(hint(LATER))
    opened = gr.State(False)  # a layer is drawn where somebody looks: it takes as long as the answer
    with gr.Accordion(
        "Inside the network, layer by layer", open=False, visible=bool(service.layers)
    ) as depth:
        number = gr.Slider(
            1, max(2, len(service.layers)), value=1, step=1, label="Layer, from the poster to the answer"
        )
        inside = gr.HTML(hint(LATER))

    do, movie = _Handlers(service, about, examples), [year, genres]
    shown, quiet = [poster, file, answer, stage, changed], {"show_progress": "hidden"}
    # The answer first: what needs the network once more follows it.
    for given in (
        file.upload(do.take, [file, *movie], shown, show_progress="minimal"),
        tried.choose(do.example, movie, shown, show_progress="minimal"),
    ):
        given.then(do.alike, poster, alike, **quiet).then(
            do.inside, [poster, number, opened], inside, **quiet
        )
    for field in movie:
        field.change(do.again, [poster, *movie], [answer, stage], **quiet)
    stage.hide(do.without, poster, changed, show_progress="minimal")
    depth.expand(lambda: True, None, opened, **quiet).then(do.inside, [poster, number, opened], inside)
    depth.collapse(lambda: False, None, opened, **quiet)
    number.change(do.inside, [poster, number, opened], inside, trigger_mode="always_last")


@dataclass(frozen=True)
class _Handlers:
    """What happens on the page; a method per event."""

    service: Service
    about: About
    examples: Sequence[Path]

    def take(self, path: str | None, year: str, genres: list[str] | None) -> tuple[Any, ...]:
        """Returns the poster, an empty field, answer, stage and no result of a box."""
        if path is None:
            return (gr.skip(),) * 5
        try:
            poster = read_upload(path)
        except PosterMLError as error:
            return None, None, problem(str(error)), "", ""
        return poster, None, *self.again(poster, year, genres), ""

    def example(self, event: gr.EventData, year: str, genres: list[str] | None) -> tuple[Any, ...]:
        """Returns what `take` does, of an example."""
        path = self.examples[int(event.number)]
        poster = Upload(path.name, path.read_bytes())
        return poster, None, *self.again(poster, year, genres), ""

    def again(self, poster: Upload | None, year: str, genres: list[str] | None) -> tuple[Any, Any]:
        """Returns the answer, and the poster with its map, as HTML, of the poster that is there."""
        if poster is None:
            return gr.skip(), gr.skip()
        params = {"explain": True, "evidence": True}
        question = Question([poster.content], year, tuple(genres or ()), params)
        row, said = self._ask(question, {"explain": True}, {"evidence": True}, {})
        if said:
            return problem(said), ""
        sure = abs(row["probability_fresh"] - row["threshold"]) >= JUST
        picture = data_uri(poster.picture(self.about.size, self.about.fit))
        return (
            fragment("answer", row=row, sure=sure),
            fragment("stage", picture=picture, overlay=row.get("cam_png"), name=poster.name),
        )

    def without(self, poster: Upload | None, event: gr.EventData) -> str:
        """Says what hiding a box changes."""
        if poster is None:
            return ""
        box = [float(edge) for edge in event.box]
        row, said = self._ask(Question([poster.content], params={"what_if": box}))
        return problem(said) if said else hint(hidden_box(row["what_if"][0]))

    def alike(self, poster: Upload | None) -> str:
        """Shows the most alike posters."""
        if poster is None:
            return hint(LATER)
        row, said = self._ask(Question([poster.content], params={"neighbours": NEIGHBOURS}))
        if said:
            return hint(said)
        found = row["neighbours"]
        return fragment(
            "neighbours",
            rows=[{**one, "picture": self.about.pictures.get(one["movie_id"], "")} for one in found],
            fresh=sum(one["label"] == "Fresh" for one in found),
        )

    def inside(self, poster: Upload | None, number: int, opened: bool) -> str:
        """Shows a layer, counted from 1, where the field for it is open."""
        if poster is None or not opened:
            return hint(LATER)
        name = self.service.layers[int(number) - 1]
        try:
            grid = self.service.layer(poster.content, name)
        except PosterMLError as error:
            return hint(str(error))
        return fragment("layer", name=name, picture=file_uri(grid, "image/png"))

    def _ask(self, question: Question, *simpler: dict[str, Any]) -> tuple[Row, str]:
        """Returns the one row and "", or why there is none, see `ask_kindly`."""
        rows, said = ask_kindly(self.service, question, *simpler)
        return (rows[0], rows[0]["error"] or "") if rows else ({}, said)


def _example_buttons(examples: Sequence[Path]) -> str:
    pictures = []
    for path in examples:
        with Image.open(path) as image:
            image.thumbnail((200, 200))
            pictures.append(data_uri(image))
    return fragment("examples", pictures=pictures)
