"""Commands: what models can do, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from poster_ml.cli.app import app
from poster_ml.cli.options import (
    AsJson,
    Data,
    ModelUri,
    Overrides,
    Posters,
    Split,
    collect_overrides,
    optional_path,
)
from poster_ml.cli.output import show
from poster_ml.files import check_output_folder, command_result
from poster_ml.quiet import load_keras


@app.command()
def evaluate(
    run: Annotated[str, typer.Option(help="Id of a training run.")] = "",
    model_uri: ModelUri = "",
    data: Data = None,
    split: Split = "test",
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate one model in full and add it to its run. --set takes evaluate.* and explain.* keys.

    Example: poster-ml evaluate --run 0a1b2c3d --split test
    """
    load_keras()
    from poster_ml.commands.evaluate import run_evaluate

    result = run_evaluate(
        run=run,
        model_uri=model_uri,
        data=data,
        split=split,
        overrides=collect_overrides(overrides),
    )
    show(result, as_json)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Ids of two or more runs.")],
    split: Split = "test",
    out: Annotated[Path | None, optional_path("Folder for the table and the figure.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs on the same posters: which differences are real.

    Example: poster-ml compare 0a1b2c3d 4e5f6a7b --split val
    """
    if out:
        check_output_folder(out, command_result("compare"))
    from poster_ml.commands.compare import run_compare

    show(run_compare(runs, split=split, out=out), as_json)


@app.command()
def explain(
    posters: Posters,
    model_uri: ModelUri,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    layer: Annotated[str, typer.Option(help="Layer of the map; default: the model's choice.")] = "",
    as_json: AsJson = False,
) -> None:
    """Draw class activation maps and intermediate layers of any posters.

    Example: poster-ml explain --model-uri models:/poster-vgg16@champion poster.jpg --out maps
    """
    check_output_folder(out, command_result("explain"))
    load_keras()
    from poster_ml.commands.explain import run_explain

    show(run_explain(model_uri, posters, out, layer=layer), as_json)


@app.command()
def predict(
    posters: Posters,
    model_uri: ModelUri,
    output_format: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="Form of the result.")
    ] = "table",
    out: Annotated[Path | None, optional_path("CSV file to write, resumable; default: stdout.")] = None,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Start --out afresh.")] = False,
) -> None:
    """Probabilities for files or folders.

    Example: poster-ml predict --model-uri models:/poster-vgg16@champion posters --format csv
    """
    from poster_ml.pipeline.prediction_files import check_out

    if out:
        check_out(out)
    load_keras()
    from poster_ml.commands.predict import run_predict

    run_predict(model_uri, posters, format=output_format, out=out, resume=not no_resume)


@app.command()
def drift(
    log: Annotated[Path, typer.Option(help="Prediction log of the service.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset that the model was trained on.")],
    model_uri: Annotated[str, typer.Option(help="Also compare the probabilities of this model.")] = "",
    since: Annotated[str, typer.Option(help="First day or time of the period, UTC.")] = "",
    until: Annotated[str, typer.Option(help="Day or time where the period ends.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare the posters that were scored in a period with those of training.

    Example: poster-ml drift --log predictions.jsonl --data data/prepared --since 2026-01-01
    """
    if model_uri:
        load_keras()
    from poster_ml.commands.drift import run_drift

    show(run_drift(log, data, model_uri=model_uri, since=since, until=until), as_json)


@app.command()
def export(
    runs: Annotated[list[str], typer.Argument(help="Ids of runs.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write the record of runs (tags, params, metrics) to a small JSON file.

    Example: poster-ml export 0a1b2c3d 4e5f6a7b --out docs/results/runs.json
    """
    from poster_ml.commands.export import run_export

    show(run_export(runs, out), as_json)
