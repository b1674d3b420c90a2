"""The page: one poster, designs compared, many posters, and what the model is."""

from __future__ import annotations

import gradio as gr

from poster_ml.app import designs, many, one_poster
from poster_ml.app.about import About
from poster_ml.app.look import fragment
from poster_ml.app.service import Service

TITLE = "Does the poster tell?"


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
