"""Fields that several tabs share."""

from __future__ import annotations

from typing import Any

import gradio as gr

from poster_ml.app.about import About


class PosterImage(gr.Image):
    """A picture by drop, click or paste; hands on the file as it came, to be checked by our own rules."""

    def get_block_name(self) -> str:
        """For the page it is Gradio's own image field."""
        return "image"

    def preprocess(self, payload: Any) -> str | None:
        """Returns the path of the uploaded file."""
        return None if payload is None else payload.path


def movie_fields(about: About) -> tuple[gr.Textbox, gr.Dropdown]:
    """Adds the two fields for what is known of the movie."""
    # Text, since an empty number is 0 to the browser; the service reads years from text, too.
    year = gr.Textbox(label="Year, if known", placeholder="1999", max_lines=1)
    genres = gr.Dropdown(
        list(about.genres), label="Genres, if known", multiselect=True, value=[], visible=bool(about.genres)
    )
    return year, genres
