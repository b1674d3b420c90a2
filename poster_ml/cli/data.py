"""Commands: demo, data and what is seen of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from poster_ml.cli.app import app
from poster_ml.cli.options import (
    AsJson,
    Column,
    Dialect,
    Limit,
    ScoreThreshold,
    Seed,
    optional_path,
)
from poster_ml.cli.output import show
from poster_ml.files import check_output_folder, command_result
from poster_ml.quiet import load_keras


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder for the demo's report.")] = Path("demo")) -> None:
    """The whole pipeline on synthetic posters, offline, in minutes.

    Example: poster-ml demo
    """
    check_output_folder(out, command_result("demo"))
    load_keras()
    from poster_ml.commands.demo import run_demo

    show(run_demo(out), as_json=False)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder for posters/, movies.csv and regions.csv.")],
    count: Annotated[int, typer.Option(help="Posters to draw, at least 20.")] = 1200,
    seed: Seed = 42,
    bayes_accuracy: Annotated[float, typer.Option(help="The best possible accuracy, 0.5 to 1.")] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Draw synthetic posters whose label has a known cause.

    Example: poster-ml synth data/synthetic --count 2000 --seed 7
    """
    from poster_ml.commands.synth import run_synth

    show(run_synth(out, count=count, seed=seed, bayes_accuracy=bayes_accuracy), as_json)


@app.command()
def download(
    table: Annotated[Path, typer.Argument(help="Table with a poster URL per movie.")],
    out: Annotated[Path, typer.Option(help="Folder for the posters.")],
    workers: Annotated[int, typer.Option(min=1, max=256, help="Connections at a time.")] = 8,
    column: Column = None,
    dialect: Dialect = "",
    score_threshold: ScoreThreshold = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try known failures again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download posters by URL; continues where it was stopped.

    Example: poster-ml download movies.csv --out data/posters --workers 16
    """
    from poster_ml.commands.download import run_download

    result = run_download(
        table,
        out,
        workers=workers,
        columns=column or (),
        dialect=dialect or None,
        score_threshold=score_threshold,
        retry_failed=retry_failed,
    )
    show(result, as_json)


@app.command()
def preprocess(
    table: Annotated[Path, typer.Option(help="CSV, TSV or Parquet with one row per movie.")],
    posters: Annotated[Path, typer.Option(help="Folder with the images.")],
    out: Annotated[Path, typer.Option(help="Folder of the prepared dataset.")] = Path("data/prepared"),
    size: Annotated[int, typer.Option(help="Side of the square in pixels.")] = 224,
    fit: Annotated[
        Literal["squash", "pad", "crop"], typer.Option(help="squash as the study, pad, or crop.")
    ] = "squash",
    split: Annotated[
        Literal["grouped", "stratified", "study"], typer.Option(help="How posters are split.")
    ] = "grouped",
    seed: Seed = 42,
    limit: Limit = 0,
    column: Column = None,
    dialect: Dialect = "",
    score_threshold: ScoreThreshold = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Also look in folders below.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Turn a table and a folder of images into a prepared dataset.

    Example: poster-ml preprocess --table movies.csv --posters posters --out data/prepared
    """
    from poster_ml.commands.preprocess import run_preprocess

    result = run_preprocess(
        table,
        posters,
        out,
        size=size,
        fit=fit,
        split=split,
        seed=seed,
        limit=limit,
        columns=column or (),
        dialect=dialect or None,
        score_threshold=score_threshold,
        recursive=recursive,
        workers=workers or None,
    )
    show(result, as_json)


@app.command()
def explore(
    data: Annotated[Path, typer.Option(help="Prepared dataset.")] = Path("data/prepared"),
    out: Annotated[Path | None, optional_path("Folder for the figures; default DATA/exploration.")] = None,
    seed: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Draw the exploration figures and the audit of a prepared dataset.

    Example: poster-ml explore --data data/prepared
    """
    check_output_folder(out or data / "exploration", command_result("explore"))
    load_keras()
    from poster_ml.commands.explore import run_explore

    show(run_explore(data, out, seed=seed), as_json)
