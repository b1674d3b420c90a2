"""The tab for many posters: files, a folder or ZIP archives, scored in batches, one row each."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from poster_ml.app.look import hint
from poster_ml.app.uploads import Upload, read_many
from poster_ml.serving.client import Question, Row, Service, ask_kindly

BATCH = 32  # posters in memory at once
SHOWN = 2000  # rows on the page; the CSV has all
COLUMNS = ("file", "probability_fresh", "label", "error")
WELCOME = (
    "Image files, a folder of them, or ZIP archives. Each file gets a row; one that cannot be read says why."
)


def add(service: Service, folder: Path) -> None:
    """Adds the tab's content.

    Args:
        folder: where tables to download lie until the page ends.
    """
    with gr.Row():
        files = gr.File(label="Posters or ZIP archives: drop or click", file_count="multiple", height=150)
        tree = gr.File(label="A folder of posters: drop or click", file_count="directory", height=150)
    said = gr.HTML(hint(WELCOME), elem_classes="pm-live")
    download = gr.DownloadButton("All rows as CSV", visible=False)
    table = gr.Dataframe(
        headers=list(COLUMNS), interactive=False, show_search="filter", visible=False, label="Posters"
    )

    def run(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:
        if not paths:  # the field was emptied below
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=folder, prefix="posters-", suffix=".csv", delete=False
        ) as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            shown: list[Row] = []
            count = failed = 0
            for rows in score_many(service, paths):
                writer.writerows(rows)
                count, failed = count + len(rows), failed + sum(bool(row["error"]) for row in rows)
                shown += rows[: max(0, SHOWN - len(shown))]
                progress((count, None), desc="Scoring", unit="posters")
                yield hint(f"{count:,} files so far ..."), gr.skip(), gr.skip(), gr.skip()
        more = f" The table shows the first {SHOWN:,}." if count > SHOWN else ""
        frame = pd.DataFrame(shown, columns=list(COLUMNS)).round({"probability_fresh": 3})
        yield (
            hint(f"{count:,} files, {failed:,} of them could not be scored.{more}"),
            gr.Dataframe(value=frame, visible=True),
            gr.DownloadButton(value=stream.name, visible=True),
            None,
        )

    for field in (files, tree):
        field.upload(run, field, [said, table, download, field], show_progress="minimal")


def score_many(service: Service, paths: list[str]) -> Iterator[list[Row]]:
    """Yields rows with `COLUMNS`, a batch at a time, for uploaded files and archives of any number."""
    found = read_many(paths)
    while batch := list(islice(found, BATCH)):
        posters = [one for one in batch if isinstance(one, Upload)]
        rows, said = ask_kindly(service, Question([one.content for one in posters])) if posters else ([], "")
        answers = iter(rows)
        yield [_row(one, answers, said) for one in batch]


def _row(one: Upload | tuple[str, str], answers: Iterator[Row], said: str) -> Row:
    name, reason = (one.name, said) if isinstance(one, Upload) else one
    if reason:
        return {"file": name, "probability_fresh": None, "label": None, "error": reason}
    answer = next(answers)
    return {"file": name, **{column: answer[column] for column in COLUMNS[1:]}}
