"""Commands: from a dataset to models."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from poster_ml.cli import options as shared
from poster_ml.cli.app import app
from poster_ml.cli.options import collect_overrides, optional_path, split_names
from poster_ml.cli.output import run_command
from poster_ml.quiet import load_keras


@app.command()
def train(
    model: Annotated[str, typer.Option(help="Variant, a name under experiments/.")] = "",
    data: shared.Data = None,
    experiment: Annotated[Path | None, optional_path("YAML file instead of the variant's own.")] = None,
    overrides: shared.Overrides = None,
    weights: shared.Weights = "",
    epochs: shared.Epochs = 0,
    limit: shared.Limit = 0,
    resume: Annotated[str, typer.Option(help="Id of a run to continue.")] = "",
    precision: Annotated[str, typer.Option(help="auto, float32, mixed_bfloat16 or mixed_float16.")] = "",
    protocol: Annotated[
        str, typer.Option(help="sound (default) or study: which of the variant's files.")
    ] = "",
    fold: Annotated[
        str,
        typer.Option(help="K/N, for example 2/5: train on the other folds, `evaluate` then tests this one."),
    ] = "",
    as_json: shared.AsJson = False,
) -> None:
    """Train one variant, evaluate it on validation, log everything.

    Example: poster-ml train --model mobilenet_v2 --data data/prepared --set train.epochs=20
    """
    given = collect_overrides(overrides, weights=weights, epochs=epochs, limit=limit, precision=precision)
    if protocol and protocol not in get_args(shared.Protocol):
        allowed = ", ".join(get_args(shared.Protocol))
        raise typer.BadParameter(f"{protocol!r} is not one of {allowed}", param_hint="--protocol")
    if resume and (given or data or experiment or fold):
        raise typer.BadParameter(
            "a resumed run keeps its own configuration and data: leave out --data, --fold, --experiment, "
            "--set and the options that stand for them"
        )
    from poster_ml.pipeline.preflight import check_training, is_one_of_several, open_named

    several = is_one_of_several(data, resume)
    if resume:
        options = {"run_id": resume, "model": model, "protocol": protocol, "as_json": as_json}
        run_command("train", options, function="resume_train")
        return
    config = check_training(model, experiment, given, protocol)
    options = {"config": config, "named": open_named(data, fold), "overrides": given, "as_json": as_json}
    options["fold"] = fold
    if several:
        load_keras(find_devices=False)
        from poster_ml.training.devices import join_processes

        if join_processes() > 0:
            run_command("train", options, function="train_along", show=False)
            return
    run_command("train", options)


@app.command()
def suite(
    data: shared.Data = None,
    protocol: Annotated[shared.Protocol, typer.Option(help="The study's choices, or sound ones.")] = "sound",
    only: Annotated[list[str] | None, typer.Option(help="Only this variant; repeat, or commas.")] = None,
    weights: shared.Weights = "",
    epochs: shared.Epochs = 0,
    limit: shared.Limit = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for all variants, VARIANT:key=value for one; repeat, or ';'."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs per variant, with different seeds.")] = 1,
    folds: Annotated[
        int | None, typer.Option(min=2, max=20, help="Cross-validate on all posters, in so many folds.")
    ] = None,
    out: Annotated[
        Path | None, optional_path("Folder for tables and figures; default: reports/suite, or reports/folds.")
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Train all variants and compare them on the same posters; with --folds each poster is held out once.

    Example: poster-ml suite --protocol study --only basic_cnn,mobilenet_v2 --seeds 3
    --set mobilenet_v2:model.weights=mobilenet.weights.h5
    """
    command = "folds" if folds else "suite"
    out = out or Path("reports") / command
    options = {"data": data, "protocol": protocol, "seeds": seeds, "folds": folds, "out": out}
    given = collect_overrides(overrides, weights=weights, epochs=epochs, limit=limit)
    chosen = {"only": split_names(only), "overrides": given, "as_json": as_json}
    run_command(command, options | chosen, folder=out)


@app.command()
def tune(
    model: Annotated[str, typer.Option(help="Variant with a search space under experiments/tune/.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials that the study should have in total.")] = 20,
    data: shared.Data = None,
    engine: Annotated[Literal["optuna", "keras-tuner"], typer.Option(help="Search engine.")] = "optuna",
    workers: shared.Workers = 1,
    scheduler: shared.Scheduler = "",
    dashboard: shared.Dashboard = False,
    storage: Annotated[
        str, typer.Option(help="SQLite file or database URL; default: optuna.db beside the MLflow store.")
    ] = "",
    study: Annotated[str, typer.Option(help="Study name; the same name continues that study.")] = "",
    timeout: Annotated[float, typer.Option(min=0, help="Minutes; 0: no limit.")] = 0,
    sampler: Annotated[str, typer.Option(help="tpe, random or qmc (Optuna).")] = "tpe",
    pruner: Annotated[
        str, typer.Option(help="median, third, hyperband, halving or none (Optuna).")
    ] = "median",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the study.")] = 0,
    overrides: shared.Overrides = None,
    weights: shared.Weights = "",
    search_only: Annotated[
        bool, typer.Option("--search-only", help="No training in full of the best settings afterwards.")
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Search hyperparameters; a study of the same name is continued.

    Example: poster-ml tune --model mobilenet_v2 --data data/prepared --trials 30 --workers 2
    """
    given = locals()
    # Workers and this process share a GPU: nobody may take all of its memory as Keras is imported.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from poster_ml.pipeline.tune_options import TuneOptions

    named = {field.name for field in dataclasses.fields(TuneOptions)}
    search = {key: given[key] for key in given.keys() & named}
    options = TuneOptions(**search, retrain=not search_only)
    changes = collect_overrides(overrides, weights=weights)
    asked = {"model": model, "options": options, "data": data, "overrides": changes}
    run_command("tune", asked | {"as_json": as_json})


@app.command()
def ensemble(
    runs: Annotated[list[str], typer.Argument(help="Ids of training runs, two or more.")],
    name: Annotated[str, typer.Option(help="Name of the run and its variant.")] = "ensemble",
    rule: Annotated[
        Literal["mean", "fitted"], typer.Option(help="Equal weights, or fitted on validation.")
    ] = "mean",
    data: Annotated[Path | None, optional_path("Prepared dataset; default: the runs' own.")] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Average trained networks into one model; evaluate it on validation, log it.

    Example: poster-ml ensemble 0a1b2c3d 4e5f6a7b --name poster_ensemble
    """
    run_command("ensemble", locals())
