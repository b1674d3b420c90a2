"""What several commands have in common: options, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def path_or_none(text: str) -> Path | None:
    """Returns the path, or None for an empty text: `mlflow run` passes every parameter."""
    return Path(text) if text else None


def optional_path(description: str) -> Any:
    """Returns a typer option that takes a path or, as if it were left out, an empty text."""
    return typer.Option(parser=path_or_none, help=description)


Protocol = Literal["sound", "study"]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Data = Annotated[
    Path | None, optional_path("Prepared dataset; default data/prepared, else the demo profile.")
]
Split = Annotated[Literal["train", "val", "test"], typer.Option(help="Which posters.")]
Posters = Annotated[list[Path], typer.Argument(help="Image files or folders.")]
Family = Annotated[str, typer.Option(help="Model family, for example vgg16.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed; 0 is a seed like any other.")]
Limit = Annotated[int, typer.Option(min=0, help="Use only so many posters; 0: all.")]
Weights = Annotated[
    str, typer.Option(help="imagenet, none, or a file of weights; default: as the variant says.")
]
Epochs = Annotated[int, typer.Option(min=0, help="Epochs; 0: as the variant says.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value; several: repeat, or separate by ';'.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="role=column for an unknown table; repeat.")
]
Dialect = Annotated[str, typer.Option(help="Dialect of the table; default: recognised by its columns.")]
ScoreThreshold = Annotated[
    float | None, typer.Option(help="Fresh from this score on, instead of the status.")
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Processes on this machine.")]
Scheduler = Annotated[
    str, typer.Option(help="tcp://HOST:8786 of a Dask cluster; default: POSTER_ML_SCHEDULER, else none.")
]
Dashboard = Annotated[bool, typer.Option("--dashboard", help="Say where Dask's dashboard shows the work.")]
ModelUri = Annotated[str, typer.Option(help="models:/NAME@ALIAS, runs:/RUN_ID/model or a folder.")]


def split_names(texts: list[str] | None) -> list[str]:
    """Returns names that were repeated or separated by commas."""
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()]


def collect_overrides(texts: list[str] | None, **options: str | int) -> list[str]:
    """Collects --set texts and the options that stand for one; later ones win."""
    keys = {
        "weights": "model.weights",
        "epochs": "train.epochs",
        "limit": "max_samples",
        "precision": "train.precision",
    }
    named = [f"{keys.get(name, name)}={value}" for name, value in options.items() if value]
    given = [part.strip() for text in texts or [] for part in text.split(";") if part.strip()]
    return given + named
