"""Fields that several tabs share."""

from __future__ import annotations

import gradio as gr

from poster_ml.app.about import About


def movie_fields(about: About) -> tuple[gr.Textbox, gr.Dropdown]:
    """Adds the two fields for what is known of the movie."""
    # Text, since an empty number is 0 to the browser; the service reads years from text, too.
    year = gr.Textbox(label="Year, if known", placeholder="for example 1999", max_lines=1)
    genres = gr.Dropdown(
        list(about.genres or ()),
        label="Genres, if known",
        multiselect=True,
        value=[],
        allow_custom_value=about.genres is None,
        visible=about.genres != (),
    )
    return year, genres
