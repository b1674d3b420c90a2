"""Fields that several tabs share."""

from __future__ import annotations

import gradio as gr

from poster_ml.app.about import About

from gradio.events import Dependency

class PosterImage(gr.Image):
    """A picture by drop, click or paste; hands on the file as it came, to be checked by our own rules."""

    def get_block_name(self) -> str:
        """For the page it is Gradio's own image field."""
        return "image"

    def preprocess(self, payload: Any) -> str | None:
        """Returns the path of the uploaded file."""
        return None if payload is None else payload.path
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def movie_fields(about: About) -> tuple[gr.Number, gr.Dropdown]:
    """Adds the two fields for what is known of the movie."""
    year = gr.Number(label="Year, if known", precision=0, minimum=1880, maximum=2100, value=None)
    genres = gr.Dropdown(
        list(about.genres), label="Genres, if known", multiselect=True, value=[], visible=bool(about.genres)
    )
    return year, genres
