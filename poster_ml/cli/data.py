"""Commands: demo, data and what is seen of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from poster_ml.cli import options as shared
from poster_ml.cli.app import app
from poster_ml.cli.options import optional_path
from poster_ml.cli.output import run_command


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder for the demo's report.")] = Path("demo")) -> None:
    """The whole pipeline on synthetic posters, offline, in minutes.

    Example: poster-ml demo
    """
    run_command("demo", locals(), folder=out)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder for posters/, movies.csv and regions.csv.")],
    count: Annotated[int, typer.Option(min=20, max=99_999, help="Posters to draw.")] = 1200,
    seed: shared.Seed = 42,
    bayes_accuracy: Annotated[float, typer.Option(help="The best possible accuracy, 0.5 to 1.")] = 0.9,
    as_json: shared.AsJson = False,
) -> None:
    """Draw synthetic posters whose label has a known cause.

    Example: poster-ml synth data/synthetic --count 2000 --seed 7
    """
    run_command("synth", locals(), keras=False)


@app.command()
def download(
    table: Annotated[Path, typer.Argument(help="Table with a poster URL per movie.")],
    out: Annotated[Path, typer.Option(help="Folder for the posters.")],
    workers: Annotated[int, typer.Option(min=1, max=256, help="Connections at a time.")] = 8,
    columns: shared.Columns = None,
    dialect: shared.Dialect = "",
    score_threshold: shared.ScoreThreshold = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try known failures again.")] = False,
    scheduler: shared.Scheduler = "",
    dashboard: shared.Dashboard = False,
    as_json: shared.AsJson = False,
) -> None:
    """Download posters by URL; continues where it was stopped.

    Example: poster-ml download movies.csv --out data/posters --workers 16
    """
    run_command("download", locals(), keras=False)


@app.command()
def preprocess(
    table: Annotated[Path, typer.Option(help="CSV, TSV or Parquet with one row per movie.")],
    posters: Annotated[Path, typer.Option(help="Folder with the images.")],
    out: Annotated[Path, typer.Option(help="Folder of the prepared dataset.")] = Path("data/prepared"),
    size: Annotated[int, typer.Option(min=16, max=2048, help="Side of the square in pixels.")] = 224,
    fit: Annotated[
        Literal["squash", "pad", "crop"], typer.Option(help="squash as the study, pad, or crop.")
    ] = "squash",
    split: Annotated[
        Literal["grouped", "stratified", "study"], typer.Option(help="How posters are split.")
    ] = "grouped",
    seed: shared.Seed = 42,
    limit: shared.Limit = 0,
    columns: shared.Columns = None,
    dialect: shared.Dialect = "",
    score_threshold: shared.ScoreThreshold = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Also look in folders below.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one per core.")] = 0,
    scheduler: shared.Scheduler = "",
    dashboard: shared.Dashboard = False,
    as_json: shared.AsJson = False,
) -> None:
    """Turn a table and a folder of images into a prepared dataset.

    Example: poster-ml preprocess --table movies.csv --posters posters --out data/prepared
    """
    run_command("preprocess", locals() | {"workers": workers or None}, keras=False)


@app.command()
def explore(
    data: Annotated[Path, typer.Option(help="Prepared dataset.")] = Path("data/prepared"),
    out: Annotated[Path | None, optional_path("Folder for the figures; default DATA/exploration.")] = None,
    seed: shared.Seed = 42,
    as_json: shared.AsJson = False,
) -> None:
    """Draw the exploration figures and the audit of a prepared dataset.

    Example: poster-ml explore --data data/prepared
    """
    run_command("explore", locals(), folder=out or data / "exploration")
