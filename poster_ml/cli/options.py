"""What several commands have in common: options, and how they are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Split(StrEnum):
    """Splits of a prepared dataset."""

    train = "train"
    val = "val"
    test = "test"


class SplitKind(StrEnum):
    """Ways to split."""

    grouped = "grouped"
    stratified = "stratified"
    study = "study"


class Fit(StrEnum):
    """Ways to bring a poster to a square."""

    squash = "squash"
    pad = "pad"
    crop = "crop"


class Protocol(StrEnum):
    """Which of a variant's two files."""

    sound = "sound"
    study = "study"


class Engine(StrEnum):
    """Search engines."""

    optuna = "optuna"
    keras_tuner = "keras-tuner"


class BlendRule(StrEnum):
    """How the networks of a blend are weighted."""

    mean = "mean"
    fitted = "fitted"


class Format(StrEnum):
    """Output formats of predict."""

    table = "table"
    csv = "csv"
    json = "json"


AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Data = Annotated[str, typer.Option(help="Prepared dataset; default data/prepared, else the demo profile.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed; 0 is a seed like any other.")]
Limit = Annotated[int, typer.Option(min=0, help="Use only so many posters; 0: all.")]
Weights = Annotated[
    str, typer.Option(help="imagenet, none, or a file of weights; default: as the variant says.")
]
Epochs = Annotated[int, typer.Option(min=0, help="Epochs; 0: as the variant says.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value; several: repeat, or separate by ';'.")
]
Column = Annotated[list[str] | None, typer.Option(help="role=column for an unknown table; repeat.")]
Dialect = Annotated[str, typer.Option(help="Dialect of the table; default: recognised by its columns.")]
ScoreThreshold = Annotated[
    float | None, typer.Option(help="Fresh from this score on, instead of the status.")
]
ModelUri = Annotated[str, typer.Option(help="models:/NAME@ALIAS, runs:/RUN_ID/model or a folder.")]


def path_or_none(text: str) -> Path | None:
    """Returns the path, or None for an empty text: `mlflow run` passes every parameter."""
    return Path(text) if text else None


def split_names(texts: list[str] | None) -> list[str]:
    """Returns names that were repeated or separated by commas."""
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()]


def checked_choice(text: str, kind: type[StrEnum], option: str) -> str:
    """Returns the text where it is one of the kind. Raises typer.BadParameter with the list otherwise."""
    if text not in {item.value for item in kind}:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(kind)}", param_hint=option)
    return text


def collect_overrides(texts: list[str] | None, **options: str | int) -> list[str]:
    """Collects --set texts and the options that stand for one; later ones win."""
    keys = {"weights": "model.weights", "epochs": "train.epochs", "precision": "train.precision"}
    named = [f"{keys.get(name, name)}={value}" for name, value in options.items() if value]
    given = [part.strip() for text in texts or [] for part in text.split(";") if part.strip()]
    return given + named
