"""Commands: what models can do, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from poster_ml.cli import options as shared
from poster_ml.cli.app import app
from poster_ml.cli.options import collect_overrides, optional_path, split_names
from poster_ml.cli.output import run_command


@app.command()
def evaluate(
    run: Annotated[str, typer.Option(help="Id of a training run.")] = "",
    model_uri: shared.ModelUri = "",
    data: shared.Data = None,
    split: shared.Split = "test",
    overrides: shared.Overrides = None,
    as_json: shared.AsJson = False,
) -> None:
    """Evaluate one model in full and add it to its run. --set takes evaluate.* and explain.* keys.

    Example: poster-ml evaluate --run 0a1b2c3d --split test
    """
    run_command("evaluate", locals() | {"overrides": collect_overrides(overrides)})


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Ids of two or more runs.")],
    split: shared.Split = "test",
    out: Annotated[Path | None, optional_path("Folder for the table and the figure.")] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Compare runs on the same posters: which differences are real.

    Example: poster-ml compare 0a1b2c3d 4e5f6a7b --split val
    """
    run_command("compare", locals(), folder=out, keras=False)


@app.command()
def explain(
    posters: shared.Posters,
    model_uri: shared.ModelUri,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    layer: Annotated[str, typer.Option(help="Layer of the map; default: the model's choice.")] = "",
    what_if: Annotated[
        list[str] | None, typer.Option(help="What to hide: text, faces, border, centre; commas between them.")
    ] = None,
    data: Annotated[
        Path | None,
        optional_path("Prepared dataset that the model was trained on: draws its most alike posters."),
    ] = None,
    workers: shared.Workers = 1,
    scheduler: shared.Scheduler = "",
    dashboard: shared.Dashboard = False,
    as_json: shared.AsJson = False,
) -> None:
    """Draw class activation maps and intermediate layers of any posters.

    Example: poster-ml explain --model-uri models:/poster-vgg16@champion poster.jpg --out maps
    """
    run_command("explain", locals() | {"what_if": split_names(what_if)}, folder=out)


@app.command()
def predict(
    posters: shared.Posters,
    model_uri: shared.ModelUri,
    format: Annotated[Literal["table", "csv", "json"], typer.Option(help="Form of the result.")] = "table",
    out: Annotated[Path | None, optional_path("CSV file to write, resumable; default: stdout.")] = None,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Start --out afresh.")] = False,
    workers: shared.Workers = 1,
    scheduler: shared.Scheduler = "",
    dashboard: shared.Dashboard = False,
) -> None:
    """Probabilities for files, folders, or a CSV table (image or path, optionally year and genres).

    Example: poster-ml predict --model-uri models:/poster-vgg16@champion posters --format csv
    """
    options = locals() | {"resume": not no_resume}
    del options["no_resume"]
    run_command("predict", options, keras=False, show=False)


@app.command()
def rank(
    posters: Annotated[list[Path], typer.Argument(help="Image files: 2 to 50 designs.")],
    model_uri: shared.ModelUri,
    year: Annotated[int | None, typer.Option(min=1880, max=2100, help="Year of the movie.")] = None,
    genres: Annotated[str, typer.Option(help="Genres of the movie, with | between them.")] = "",
    as_json: shared.AsJson = False,
) -> None:
    """Put designs in order, and say how often such a difference came out right.

    Example: poster-ml rank --model-uri models:/poster-vgg16@champion a.jpg b.jpg --year 1999 --genres Drama
    """
    run_command("rank", locals())


@app.command()
def drift(
    log: Annotated[Path, typer.Option(help="Prediction log of the service.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset that the model was trained on.")],
    model_uri: Annotated[str, typer.Option(help="Also compare the probabilities of this model.")] = "",
    since: Annotated[str, typer.Option(help="First day or time of the period, UTC.")] = "",
    until: Annotated[str, typer.Option(help="Day or time where the period ends.")] = "",
    as_json: shared.AsJson = False,
) -> None:
    """Compare the posters that were scored in a period with those of training.

    Example: poster-ml drift --log predictions.jsonl --data data/prepared --since 2026-01-01
    """
    run_command("drift", locals(), keras=bool(model_uri))


@app.command()
def export(
    runs: Annotated[list[str], typer.Argument(help="Ids of runs.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    as_json: shared.AsJson = False,
) -> None:
    """Write the record of runs (tags, params, metrics) to a small JSON file.

    Example: poster-ml export 0a1b2c3d 4e5f6a7b --out docs/results/runs.json
    """
    run_command("export", locals(), keras=False)
