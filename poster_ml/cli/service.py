"""Commands: the registry, the page, and housekeeping."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poster_ml.cli import options as shared
from poster_ml.cli.app import app
from poster_ml.cli.options import optional_path
from poster_ml.cli.output import run_command


@app.command()
def register(
    family: shared.Family = "vgg16",
    allow_demo: Annotated[bool, typer.Option("--allow-demo", help="Also runs of the demo profile.")] = False,
    dataset: Annotated[
        str, typer.Option(help="Fingerprint of the dataset to compare runs on; default: the newest run's.")
    ] = "",
    as_json: shared.AsJson = False,
) -> None:
    """Register the best finished run of a family, chosen by validation.

    Example: poster-ml register --family vgg16
    """
    run_command("register", locals(), keras=False)


@app.command()
def promote(
    family: shared.Family = "vgg16",
    roll_back: Annotated[bool, typer.Option("--roll-back", help="Restore the previous champion.")] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Make the challenger champion when a paired test on the test posters says that it is better.

    Example: poster-ml promote --family vgg16
    """
    function = "run_roll_back" if roll_back else "run_promote"
    run_command("promote", {"family": family, "as_json": as_json}, function=function, keras=False)


@app.command(name="app")
def page(
    model_uri: shared.ModelUri = "models:/poster-vgg16@champion",
    data: Annotated[
        Path | None, optional_path("Prepared dataset of the training: alike posters get pictures.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    endpoint: Annotated[
        str, typer.Option(help="Ask a running `mlflow models serve` at this URL, not --model-uri.")
    ] = "",
) -> None:
    """Open a page in the browser: drop posters, see what the model sees, compare designs.

    Example: poster-ml app --model-uri models:/poster-vgg16@champion
    """
    run_command("app", locals(), keras=False, show=False)


@app.command()
def quantize(
    model_uri: shared.ModelUri,
    data: Annotated[Path | None, optional_path("Prepared dataset; default: that of the training.")] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Make an 8-bit version for processors, offered where it is twice as fast within .005 AUC.

    Example: poster-ml quantize --model-uri models:/poster-mobilenet_v2@champion
    """
    run_command("quantize", locals())


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all entries.")] = False,
    as_json: shared.AsJson = False,
) -> None:
    """List the cached features of frozen networks, or clear them.

    Example: poster-ml cache --clear
    """
    run_command("cache", locals(), keras=False)


@app.command()
def doctor(as_json: shared.AsJson = False) -> None:
    """What this machine can do, and what to fix.

    Example: poster-ml doctor
    """
    run_command("doctor", locals())
