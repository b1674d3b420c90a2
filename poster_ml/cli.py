"""The command line: parse, call one workflow, turn a PosterMLError into exit code 2. No ML here."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import traceback
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from poster_ml.errors import PosterMLError

app = typer.Typer(
    name="poster-ml",
    help="Does a poster tell whether critics will like the movie, and what in it does?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer carries its own copy of click; its classes are reached through a public name.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
INTERRUPTED = 130
GLOBAL_FLAGS = ("--debug", "--quiet")


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


@app.callback()
def settings(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Results and errors only, no progress.")] = False,
) -> None:
    """Does a poster tell whether critics will like the movie, and what in it does?"""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("poster_ml")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    for library in ("mlflow", "alembic", "tensorflow", "absl", "optuna"):
        logging.getLogger(library).setLevel(logging.ERROR)
    if not debug:
        warnings.filterwarnings("ignore")
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder for the demo's report.")] = Path("demo")) -> None:
    """The whole pipeline on synthetic posters, offline, in minutes.

    Example: poster-ml demo
    """
    _load_keras()
    from poster_ml.workflows.demo import run_demo

    _show(run_demo(out), as_json=False)


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
    from poster_ml.workflows.synth import run_synth

    _show(run_synth(out, count=count, seed=seed, bayes_accuracy=bayes_accuracy), as_json)


@app.command()
def download(
    table: Annotated[Path, typer.Argument(help="Table with a poster URL per movie.")],
    out: Annotated[Path, typer.Option(help="Folder for the posters.")],
    workers: Annotated[int, typer.Option(min=1, max=256, help="Connections at a time.")] = 8,
    per_host: Annotated[int, typer.Option(min=1, help="Connections at a time to one host.")] = 4,
    delay: Annotated[float, typer.Option(min=0, help="Seconds between two requests to one host.")] = 0.0,
    column: Column = None,
    dialect: Dialect = "",
    score_threshold: ScoreThreshold = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try known failures again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download posters by URL; goes on where it was stopped.

    Example: poster-ml download movies.csv --out data/posters --workers 16
    """
    from poster_ml.workflows.download import run_download

    result = run_download(
        table,
        out,
        workers=workers,
        per_host=per_host,
        delay=delay,
        columns=column or (),
        dialect=dialect or None,
        score_threshold=score_threshold,
        retry_failed=retry_failed,
    )
    _show(result, as_json)


@app.command()
def preprocess(
    table: Annotated[Path, typer.Option(help="CSV, TSV or Parquet with one row per movie.")],
    posters: Annotated[Path, typer.Option(help="Folder with the images.")],
    out: Annotated[Path, typer.Option(help="Folder of the prepared dataset.")] = Path("data/prepared"),
    size: Annotated[int, typer.Option(help="Side of the square in pixels.")] = 224,
    fit: Annotated[Fit, typer.Option(help="squash as the study, pad, or crop.")] = Fit.squash,
    split: Annotated[SplitKind, typer.Option(help="How posters are split.")] = SplitKind.grouped,
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
    from poster_ml.workflows.preprocess import run_preprocess

    result = run_preprocess(
        table,
        posters,
        out,
        size=size,
        fit=fit.value,
        split=split.value,
        seed=seed,
        limit=limit,
        columns=column or (),
        dialect=dialect or None,
        score_threshold=score_threshold,
        recursive=recursive,
        workers=workers or None,
    )
    _show(result, as_json)


@app.command()
def explore(
    data: Annotated[Path, typer.Option(help="Prepared dataset.")] = Path("data/prepared"),
    out: Annotated[str, typer.Option(help="Folder for the figures; default DATA/exploration.")] = "",
    seed: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Draw the exploration figures and the audit of a prepared dataset.

    Example: poster-ml explore --data data/prepared
    """
    _load_keras()
    from poster_ml.workflows.explore import run_explore

    _show(run_explore(data, _path(out), seed=seed), as_json)


@app.command()
def train(
    model: Annotated[str, typer.Option(help="Variant, a name under experiments/.")] = "",
    data: Data = "",
    experiment: Annotated[str, typer.Option(help="YAML file instead of the variant's own.")] = "",
    overrides: Overrides = None,
    weights: Weights = "",
    epochs: Epochs = 0,
    limit: Limit = 0,
    resume: Annotated[str, typer.Option(help="Id of a run to go on with.")] = "",
    precision: Annotated[str, typer.Option(help="auto, float32, mixed_bfloat16 or mixed_float16.")] = "",
    protocol: Annotated[
        str, typer.Option(help="sound (default) or study: which of the variant's files.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Train one variant, judge it on validation, log everything.

    Example: poster-ml train --model mobilenet_v2 --data data/prepared --set train.epochs=20
    """
    from poster_ml.workflows.refusals import check_training

    given = _overrides(overrides, weights=weights, epochs=epochs, limit=limit, precision=precision)
    protocol = _choice(protocol or "sound", Protocol, "--protocol")
    if resume and (given or data or experiment):
        raise typer.BadParameter(
            "a resumed run keeps its own configuration and data: leave out --data, --experiment, --set and "
            "the options that stand for them"
        )
    if not resume:
        check_training(model, _path(data), _path(experiment), given, protocol)
    _load_keras()
    from poster_ml.workflows.train import run_train

    result = run_train(
        model=model,
        data=_path(data),
        experiment=_path(experiment),
        overrides=given,
        resume=resume,
        protocol=protocol,
    )
    _show(result, as_json)


@app.command()
def suite(
    data: Data = "",
    protocol: Annotated[Protocol, typer.Option(help="The study's choices, or sound ones.")] = Protocol.sound,
    only: Annotated[list[str] | None, typer.Option(help="Only this variant; repeat, or commas.")] = None,
    weights: Weights = "",
    epochs: Epochs = 0,
    limit: Limit = 0,
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs per variant, with different seeds.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the table and the figure.")] = Path("reports/suite"),
    as_json: AsJson = False,
) -> None:
    """Train all variants and compare them on the same posters.

    Example: poster-ml suite --data data/prepared --protocol study --only basic_cnn --only mobilenet_v2
    """
    _load_keras()
    from poster_ml.workflows.suite import run_suite

    result = run_suite(
        data=_path(data),
        protocol=protocol.value,
        only=_names(only),
        overrides=_overrides(overrides, weights=weights, epochs=epochs, limit=limit),
        seeds=seeds,
        out=out,
    )
    _show(result, as_json)


@app.command()
def tune(
    model: Annotated[str, typer.Option(help="Variant with a search space under experiments/tune/.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials that the study shall have in all.")] = 20,
    data: Data = "",
    engine: Annotated[Engine, typer.Option(help="Search engine.")] = Engine.optuna,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes on this machine.")] = 1,
    storage: Annotated[
        str, typer.Option(help="Storage URL; default: a journal beside the MLflow store.")
    ] = "",
    study: Annotated[str, typer.Option(help="Study name; the same name goes on.")] = "",
    timeout: Annotated[float, typer.Option(min=0, help="Minutes; 0: no limit.")] = 0,
    sampler: Annotated[str, typer.Option(help="tpe, random or qmc (Optuna).")] = "tpe",
    pruner: Annotated[
        str, typer.Option(help="median, third, hyperband, halving or none (Optuna).")
    ] = "median",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the study.")] = 0,
    overrides: Overrides = None,
    weights: Weights = "",
    search_only: Annotated[
        bool, typer.Option("--search-only", help="No training in full of the best settings afterwards.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search hyperparameters; a study of the same name is continued.

    Example: poster-ml tune --model mobilenet_v2 --data data/prepared --trials 30 --workers 2
    """
    from poster_ml.workflows.tune import TuneOptions, run_tune

    options = TuneOptions(
        trials=trials,
        engine=engine.value,
        workers=workers,
        storage=storage,
        study=study,
        timeout=timeout,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        ending=not search_only,
    )
    _load_keras()
    given = _overrides(overrides, weights=weights)
    _show(run_tune(model=model, options=options, data=_path(data), overrides=given), as_json)


@app.command()
def evaluate(
    run: Annotated[str, typer.Option(help="Id of a training run.")] = "",
    model_uri: ModelUri = "",
    data: Data = "",
    split: Annotated[Split, typer.Option(help="Which posters.")] = Split.test,
    as_json: AsJson = False,
) -> None:
    """Evaluate one model in full and add it to its run.

    Example: poster-ml evaluate --run 0a1b2c3d --split test
    """
    _load_keras()
    from poster_ml.workflows.evaluate import run_evaluate

    _show(run_evaluate(run=run, model_uri=model_uri, data=_path(data), split=split.value), as_json)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Ids of two or more runs.")],
    split: Annotated[Split, typer.Option(help="Which posters.")] = Split.test,
    out: Annotated[str, typer.Option(help="Folder for the table and the figure.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare runs on the same posters: which differences are real.

    Example: poster-ml compare 0a1b2c3d 4e5f6a7b --split val
    """
    from poster_ml.workflows.compare import run_compare

    _show(run_compare(runs, split=split.value, out=_path(out)), as_json)


@app.command()
def blend(
    runs: Annotated[list[str], typer.Argument(help="Ids of two or more training runs.")],
    name: Annotated[str, typer.Option(help="Name of the run and its variant.")] = "blend",
    rule: Annotated[BlendRule, typer.Option(help="Equal weights, or fitted on validation.")] = BlendRule.mean,
    data: Annotated[str, typer.Option(help="Prepared dataset; default: the runs' own.")] = "",
    as_json: AsJson = False,
) -> None:
    """Average trained networks into one model, judge it on validation, log it.

    Example: poster-ml blend 0a1b2c3d 4e5f6a7b --name poster_blend
    """
    _load_keras()
    from poster_ml.workflows.blend import run_blend

    _show(run_blend(runs, name=name, rule=rule.value, data=_path(data)), as_json)


@app.command()
def export(
    runs: Annotated[list[str], typer.Argument(help="Ids of runs.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write the record of runs (tags, params, metrics) to a small JSON file.

    Example: poster-ml export 0a1b2c3d 4e5f6a7b --out docs/results/runs.json
    """
    from poster_ml.workflows.export import run_export

    _show(run_export(runs, out), as_json)


@app.command()
def explain(
    posters: Annotated[list[Path], typer.Argument(help="Image files or folders.")],
    model_uri: ModelUri,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    layer: Annotated[str, typer.Option(help="Layer of the map; default: the model's choice.")] = "",
    as_json: AsJson = False,
) -> None:
    """Draw class activation maps and intermediate layers of any posters.

    Example: poster-ml explain --model-uri models:/poster-vgg16@champion poster.jpg --out maps
    """
    _load_keras()
    from poster_ml.workflows.explain import run_explain

    _show(run_explain(model_uri, posters, out, layer=layer), as_json)


@app.command()
def predict(
    posters: Annotated[list[Path], typer.Argument(help="Image files or folders.")],
    model_uri: ModelUri,
    output_format: Annotated[Format, typer.Option("--format", help="Form of the result.")] = Format.table,
    out: Annotated[str, typer.Option(help="CSV or Parquet file to write, resumable; default: stdout.")] = "",
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Start --out afresh.")] = False,
) -> None:
    """Probabilities for files or folders.

    Example: poster-ml predict --model-uri models:/poster-vgg16@champion posters --format csv
    """
    _load_keras()
    from poster_ml.workflows.predict import run_predict

    run_predict(model_uri, posters, format=output_format.value, out=_path(out), resume=not no_resume)


@app.command()
def register(
    model: Annotated[str, typer.Option(help="Model family, for example vgg16.")] = "vgg16",
    allow_demo: Annotated[bool, typer.Option("--allow-demo", help="Also runs of the demo profile.")] = False,
    dataset: Annotated[
        str, typer.Option(help="Fingerprint of the dataset to compare runs on; default: the newest run's.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Register the best finished run of a family, chosen by validation.

    Example: poster-ml register --model vgg16
    """
    from poster_ml.workflows.register import run_register

    _show(run_register(model, allow_demo=allow_demo, dataset_fingerprint=dataset or None), as_json)


@app.command()
def promote(
    model: Annotated[str, typer.Option(help="Model family, for example vgg16.")] = "vgg16",
    split: Annotated[Split, typer.Option(help="Which posters decide.")] = Split.val,
    roll_back: Annotated[bool, typer.Option("--roll-back", help="Bring the champion before back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the challenger champion when a paired test says that it is better.

    Example: poster-ml promote --model vgg16
    """
    from poster_ml.workflows.promote import run_promote, run_roll_back

    _show(run_roll_back(model) if roll_back else run_promote(model, split=split.value), as_json)


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
        _load_keras()
    from poster_ml.workflows.drift import run_drift

    _show(run_drift(log, data, model_uri=model_uri, since=since, until=until), as_json)


@app.command()
def compact(
    model_uri: ModelUri,
    data: Annotated[str, typer.Option(help="Prepared dataset; default: the one it was trained on.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make an 8-bit version for processors, offered where it is twice as fast within .005 AUC.

    Example: poster-ml compact --model-uri models:/poster-mobilenet_v2@champion
    """
    _load_keras()
    from poster_ml.workflows.compact import run_compact

    _show(run_compact(model_uri, data=_path(data)), as_json)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all entries.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the cached features of frozen networks, or clear them.

    Example: poster-ml cache --clear
    """
    from poster_ml.workflows.cache import run_cache

    _show(run_cache(clear=clear), as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What this machine can do, and what to mend.

    Example: poster-ml doctor
    """
    _load_keras()
    from poster_ml.workflows.doctor import run_doctor

    _show(run_doctor(), as_json)


def main() -> None:
    """Runs the command line and leaves with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; `--debug` and `--quiet` may stand anywhere.

    Returns: 0 done, 1 a bug, 2 the user's mistake, 130 interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "--debug" not in arguments:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    flags = [flag for flag in GLOBAL_FLAGS if flag in arguments]
    rest = [argument for argument in arguments if argument not in GLOBAL_FLAGS]
    debug = "--debug" in flags
    try:
        code = app(args=[*flags, *rest], prog_name="poster-ml", standalone_mode=False)
        # Typer turns an interrupt into this code by itself.
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted: what was done is kept", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, PosterMLError | UsageError | OSError):
            print(f"error: {_one_line(error)}", file=sys.stderr)
            return 2
        hint = "" if debug else "; run again with --debug for the traceback"
        print(f"bug: {type(error).__name__}: {_one_line(error)}{hint}", file=sys.stderr)
        return 1


def _load_keras() -> None:
    """Imports Keras and its backend without the notes that TensorFlow's C++ side writes to stderr.

    They come before its log level is read, so nothing but the file descriptor itself can hold them back.
    """
    if "keras" in sys.modules:
        return
    sys.stderr.flush()
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        import keras

        keras.ops.zeros(1)  # the first operation looks for devices
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError):
        place = error.filename2 or error.filename or "a file"
        return f"{place}: {error.strerror or error}; name one that you may read and write"
    formatted = getattr(error, "format_message", None)
    text = formatted() if formatted is not None else str(error)
    if formatted is not None and not text.rstrip().endswith(("--help", "?)")):
        text = f"{text.rstrip('.')}; see 'poster-ml --help'"
    return " ".join(text.split())


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _names(texts: list[str] | None) -> list[str]:
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()]


def _choice(text: str, kind: type[StrEnum], option: str) -> str:
    if text not in {item.value for item in kind}:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(kind)}", param_hint=option)
    return text


def _overrides(texts: list[str] | None, **options: str | int) -> list[str]:
    """Collects --set texts and the options that stand for one; later ones win."""
    keys = {"weights": "model.weights", "epochs": "train.epochs", "precision": "train.precision"}
    named = [f"{keys.get(name, name)}={value}" for name, value in options.items() if value]
    given = [part.strip() for text in texts or [] for part in text.split(";") if part.strip()]
    return given + named


def _show(result: Any, as_json: bool) -> None:
    """Prints a result on stdout: its own text, or JSON."""
    if as_json:
        print(json.dumps(_plain(result), indent=2, default=str))
    elif hasattr(result, "text"):
        print(result.text())
    else:
        for name, value in _plain(result).items():
            print(f"{name.replace('_', ' '):<24}{value}")


def _plain(result: Any) -> Any:
    return dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result  # type: ignore[arg-type]
