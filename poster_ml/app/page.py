"""The page: one poster, designs compared, many posters, and what the model is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from poster_ml.app import designs, many, one_poster
from poster_ml.app.look import fragment
from poster_ml.app.service import Service

TITLE = "Does the poster tell?"


@dataclass(frozen=True)
class About:
    """What the page says of the model.

    name: as registered, or the URI. size: side of the network's square input in pixels. genres: that it knows.
    figures: rows `split, accuracy, roc_auc, majority` as texts. facts: further lines, name to text.
    examples: paths of poster files to try. pictures: movie id to a data URI of its poster, where the dataset
    is at hand.
    """

    name: str
    size: int
    genres: tuple[str, ...] = ()
    figures: tuple[dict[str, str], ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    pictures: Any = None


def build_page(service: Service, about: About) -> gr.Blocks:
    """Builds the page; `launch` of the result serves it."""
    # What is uploaded is deleted when it was read; this takes what a closed browser left, every ten minutes.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(f"# {TITLE}\nWhether critics will like the movie, by its poster. Model: {about.name}")
        with gr.Tab("One poster"):
            one_poster.add(service, about)
        with gr.Tab("Compare designs"):
            designs.add(service, about)
        with gr.Tab("Many posters"):
            many.add(service)
        with gr.Tab("About the model"):
            gr.HTML(fragment("about", name=about.name, figures=about.figures, facts=about.facts))
    return page


def movie_inputs(genres: tuple[str, ...]) -> tuple[gr.Number, gr.Dropdown]:
    """Adds the two fields for what is known of the movie."""
    year = gr.Number(label="Year (if known)", precision=0, minimum=1880, maximum=2100, value=None)
    choices = gr.Dropdown(
        list(genres), label="Genres (if known)", multiselect=True, visible=bool(genres), value=None
    )
    return year, choices
