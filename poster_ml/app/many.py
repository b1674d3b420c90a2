"""The tab for many posters: files or ZIP archives, scored in batches, one row each."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from poster_ml.app.look import fragment
from poster_ml.app.service import Question, Row, Service, ask_kindly
from poster_ml.app.uploads import Upload, read_many

BATCH = 32  # posters in memory at once
SHOWN = 2000  # rows on the page; the CSV has all
COLUMNS = ("file", "probability_fresh", "label", "error")


def add(service: Service) -> None:
    """Adds the tab's content."""
    gr.Markdown(
        "Image files, or ZIP archives of them. Each file gets a row; one that cannot be read says why."
    )
    files = gr.Files(label="Posters: drop or click")
    start = gr.Button("Score them", variant="primary")
    said = gr.HTML("")
    table = gr.Dataframe(headers=list(COLUMNS), interactive=False, show_search="filter", visible=False)
    download = gr.DownloadButton("All rows as CSV", visible=False)

    def run(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:
        if not paths:
            yield fragment("problem", text="Drop posters or a ZIP archive first."), gr.skip(), gr.skip()
            return
        target = Path(tempfile.mkdtemp(prefix="poster-ml-app-")) / "posters.csv"
        shown: list[Row] = []
        count = failed = 0
        with target.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            for rows in score_many(service, paths):
                writer.writerows(rows)
                count, failed = count + len(rows), failed + sum(bool(row["error"]) for row in rows)
                shown += rows[: max(0, SHOWN - len(shown))]
                progress((count, None), desc="posters scored", unit="posters")
                yield fragment("hint", text=f"{count:,} files so far ..."), gr.skip(), gr.skip()
        more = f"; the table shows the first {SHOWN:,}" if count > SHOWN else ""
        text = f"{count:,} files, {failed:,} of them could not be scored{more}."
        frame = pd.DataFrame(shown, columns=list(COLUMNS))
        yield (
            fragment("hint", text=text),
            gr.Dataframe(value=frame, visible=True),
            gr.DownloadButton(value=str(target), visible=True),
        )

    start.click(run, files, [said, table, download])


def score_many(service: Service, paths: list[str]) -> Iterator[list[Row]]:
    """Yields rows with `COLUMNS`, a batch at a time, for uploaded files and archives of any number."""
    found = read_many(paths)
    while batch := list(islice(found, BATCH)):
        posters = [one for one in batch if isinstance(one, Upload)]
        rows, problem = (
            ask_kindly(service, Question([one.content for one in posters])) if posters else ([], "")
        )
        answers = iter(rows)
        yield [_row(one, answers, problem) for one in batch]


def _row(one: Upload | tuple[str, str], answers: Iterator[Row], problem: str) -> Row:
    if isinstance(one, tuple):
        return {"file": one[0], "probability_fresh": None, "label": None, "error": one[1]}
    if problem:
        return {"file": one.name, "probability_fresh": None, "label": None, "error": problem}
    answer = next(answers)
    return {"file": one.name, **{name: answer[name] for name in COLUMNS[1:]}}
