"""The page: one poster, designs compared, many posters, and what the model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from poster_ml.app import designs, many, one_poster
from poster_ml.app.about import About
from poster_ml.app.look import STYLE, fragment, script, theme
from poster_ml.serving.client import Service

TITLE = "Does the poster tell?"
AT_ONCE = 4  # requests of one kind that are worked on; the others wait


def build_page(service: Service, about: About, examples: Sequence[Path], folder: Path) -> gr.Blocks:
    """Builds the page; `serve_page` serves it.

    Args:
        examples: poster files to try.
        folder: where uploads and downloads lie; made and removed by the caller.
    """
    # What is uploaded is deleted when it was read; this takes what a closed browser left, every ten minutes.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.HTML(fragment("head", title=TITLE, model=about.name, demo=about.facts.get("Profile") == "demo"))
        with gr.Tab("One poster"):
            one_poster.add(service, about, examples)
        with gr.Tab("Compare"):
            designs.add(service, about)
        with gr.Tab("Many"):
            many.add(service, folder)
        with gr.Tab("About"):
            gr.HTML(fragment("about", about=about))
            if about.card:
                with gr.Accordion("Model card", open=False):
                    gr.Markdown(about.card)
    return page.queue(default_concurrency_limit=AT_ONCE)


def serve_page(page: gr.Blocks, host: str, port: int, folder: Path) -> str:
    """Serves the page in threads, until `page.close()`, and returns its address.

    Args:
        host, port: where it listens.
        folder: as for `build_page`.
    """
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        theme=theme(),
        css_paths=STYLE,
        head=f"<script>{script('page')}</script>",
        footer_links=[],
        allowed_paths=[str(folder)],
        ssr_mode=False,
        show_error=False,
        prevent_thread_lock=True,
    )
    return address
