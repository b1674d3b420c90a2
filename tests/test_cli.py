"""The command line: help, exit codes, and the one line that refused input gets."""

import json
import logging
import os
import re

import mlflow
import pytest

from poster_ml import cli
from poster_ml.cli.options import collect_overrides, path_or_none, split_names
from poster_ml.errors import DatasetError
from poster_ml.tracking.runs import open_run
from tests.pictures import poster
from tests.programs import run_python

COMMANDS = (
    "demo", "synth", "download", "preprocess", "explore", "train", "suite", "tune", "evaluate", "compare",
    "explain", "predict", "register", "promote", "doctor", "ensemble", "export", "drift", "quantize", "cache",
    "rank", "app",
)  # fmt: skip


@pytest.fixture
def place(mlflow_place):
    """A folder with five good posters, a table that fits them, and one of each thing that does not do."""
    folders = ("posters", "broken", "empty", "a%20b")
    for name in folders:
        (mlflow_place / name).mkdir()
    rows = ["movie_id,title,year,genres,tomatometer_rating,tomatometer_status"]
    for number in range(5):
        poster(number).save(mlflow_place / "posters" / f"tt{number}.jpg")
        (mlflow_place / "broken" / f"tt{number}.jpg").write_bytes(b"\xff\xd8 not an image")
        label = ("Rotten", "Fresh")[number % 2]
        rows.append(f"tt{number},Film {number},200{number},Drama,{50 + number},{label}")
    table = "\n".join(rows) + "\n"
    (mlflow_place / "movies.csv").write_text(table)
    (mlflow_place / "columns.csv").write_text(table.replace("tomatometer_", "x_"))
    (mlflow_place / "labels.csv").write_text(re.sub("(Fresh|Rotten)\n", r"no \1\n", table))
    (mlflow_place / "broken.h5").write_bytes(b"nothing")
    (mlflow_place / "a%20b" / "MLmodel").touch()
    return mlflow_place


def refused(capsys, *arguments):
    """Runs a command that must be refused and returns its one line."""
    code = cli.run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line]
    assert code == 2, captured.err
    assert captured.out == ""
    assert lines[-1].startswith("error: ")
    assert not any("Traceback" in line for line in lines)
    return lines[-1].removeprefix("error: ")


def test_every_command_of_the_interface_has_a_help_with_an_example(capsys):
    for command in COMMANDS:
        assert cli.run([command, "--help"]) == 0
        assert f"Example: poster-ml {command}" in capsys.readouterr().out.replace("\n", " ")


def test_help_does_not_wait_for_tensorflow():
    done = run_python("-X", "importtime", "-m", "poster_ml", "train", "--help", timeout=30)
    for heavy in ("tensorflow", "keras", "mlflow", "pandas", "sklearn"):
        assert f"| {heavy}\n" not in done.stderr.replace(" " * 2, "")


PREPARE = "preprocess --posters posters --table"
VGG = "train --experiment {project}/experiments/vgg16.yaml"
MOBILE = "train --model mobilenet_v2 --data {data}"
REFUSED = [
    ("trian", r"^No such command 'trian'\. Did you mean 'train', 'rank'\?; see 'poster-ml --help'$"),
    ("synth x --cout 3", "No such option: --cout"),
    ("synth x --count 19", "greater than or equal to 20"),
    ("synth x --bayes-accuracy 0.2", r"0\.2"),
    (f"{PREPARE} gone.csv", r"gone\.csv"),
    (f"{PREPARE} columns.csv", "x_status.*--column label="),
    (f"{PREPARE} labels.csv", "no (Fresh|Rotten)"),
    (f"{PREPARE} movies.csv --size 3", "--size': received '3', allowed: greater than or equal to 16"),
    (f"{PREPARE} movies.csv --split sideways", "'sideways' is not one of"),
    (f"{PREPARE} movies.csv --out movies.csv/x", r"movies\.csv"),
    (f"{PREPARE} movies.csv --garbage", r"cannot be used \(file is not a database\).*MLFLOW_TRACKING_URI"),
    ("preprocess --table movies.csv --posters nowhere", "nowhere"),
    ("preprocess --table movies.csv --posters empty", "no image files in empty"),
    ("preprocess --table movies.csv --posters broken", "5"),
    ("explore --data nowhere", "nowhere"),
    ("train", "^no model was named: give --model NAME or --experiment FILE$"),
    ("train --model vgg61", r"^unknown model 'vgg61' \(did you mean 'vgg16'\?\): choose one of augmented"),
    ("train --model vgg16 --data nowhere", "nowhere.*poster-ml preprocess"),
    ("train --model vgg16 --set train.epoch=3", r"train\.epoch: unknown key \(did you mean 'train\.epochs'"),
    (
        "train --experiment mine.yaml",
        r"^cannot read mine\.yaml: No such file .*; give an existing YAML file$",
    ),
    ("train --model vgg16 --protocol lazy", "'lazy' is not one of sound, study"),
    ("train --resume 0123 --set train.epochs=5", "^Invalid value: a resumed run keeps its own configuration"),
    ("train --resume 0123", "^no run '0123' in sqlite:///.*: give an id that `mlflow ui` shows$"),
    (f"{VGG} --model basic_cnn", "describes 'vgg16', but --model says 'basic_cnn': give one of them$"),
    (f"{VGG} --protocol study", "the protocol 'sound', but --protocol says 'study': give one of them$"),
    (f"{MOBILE} --weights none.h5", r"no weights file none\.h5"),
    (f"{MOBILE} --weights broken.h5", r"weights file broken\.h5 is not HDF5"),
    ("suite --data {data} --only basic_cn", r"^unknown variant 'basic_cn' \(did you mean 'basic_cnn'\?\): "),
    (f"{MOBILE} --fold 6/5", r"^a fold is K/N with K from 1 to N and N from 2 to 20, received '6/5'$"),
    ("suite --folds 1", "--folds"),
    ("rank a.jpg b.jpg --model-uri m --year 1500", "--year.*1880"),
    (
        "suite --data {data} --only basic_cnn --folds 5 --limit 50",
        "^--folds scores every poster, received max_samples=50: leave --limit out$",
    ),
    ("download movies.csv --out new", "image_url"),
    ("evaluate", "^give one of --run RUN_ID and --model-uri URI$"),
    ("evaluate --run 1 --model-uri models:/x@y", "give one of"),
    ("evaluate --run 1", "^no run '1'"),
    ("evaluate --model-uri models:/x@y", "models:/x@y"),
    ("compare 1", "^compare needs at least two different runs, got 1$"),
    ("compare 1 2", "^no run '1'"),
    ("register --family vgg16", "vgg16"),
    ("promote --family vgg16", "poster-vgg16"),
    ("tune --model nothing --trials 2", "no search space for model 'nothing'"),
    ("tune --model vgg16 --trials 0", "--trials"),
    (
        "download movies.csv --out new --scheduler tcp://127.0.0.1:1",
        "^no scheduler answers at tcp://127.0.0.1:1: start one with `dask scheduler`",
    ),
    ("tune --model vgg16 --engine grid", "'grid' is not one of"),
    *(
        (f"{command} --model-uri {model} {poster}", message)
        for command in ("predict", "explain --out maps")
        for model, poster, message in (
            ("models:/no@champion", "nothing.jpg", r"no file or folder nothing\.jpg"),
            ("models:/no@champion", "empty", "the folder empty has no image"),
            ("models:/no@champion", "posters", "models:/no@champion"),
            # A model in a folder needs no store, which is broken here.
            ("folder", "posters --store", r"^no model at 'folder' \(no file MLmodel\)"),
        )
    ),
    ("predict --model-uri a%20b posters", "copy the model to a folder without"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_what_cannot_be_done_is_refused_with_what_is_allowed(
    capsys, place, tiny_dataset, project, monkeypatch, command, message
):
    words = command.format(data=tiny_dataset, project=project).split()
    if words[-1] == "--store":
        words.pop()
        monkeypatch.setattr("poster_ml.tracking.store.connect", lambda **options: 1 / 0)
    if words[-1] == "--garbage":
        words.pop()
        (place / "mlflow.db").write_text("garbage")
    assert re.search(message, refused(capsys, *words))
    assert not (place / "data" / "prepared").exists()


@pytest.fixture
def failing(monkeypatch):
    """Runs a command that raises an error."""

    def run(error, *flags):
        def fail(*arguments, **options):
            raise error

        monkeypatch.setattr("poster_ml.commands.synth.run_synth", fail)
        return cli.run(["synth", "out", *flags])

    return run


UNSEEN = "error: {}: {}; name one that you may read and write"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("broken\nin two lines"), 1,
         "bug: RuntimeError: broken in two lines; run again with --debug for the traceback"),
        (KeyboardInterrupt(), 130, "interrupted: finished work is kept"),
        (DatasetError("first\nsecond"), 2, "error: first second"),
        (FileNotFoundError(2, "No such file", "x.csv"), 2, UNSEEN.format("x.csv", "No such file")),
        (PermissionError(13, "Permission denied", "y.csv"), 2, UNSEEN.format("y.csv", "Permission denied")),
        (OSError(28, "No space left on device"), 2, "error: a file: No space left on device; make room there"),
        (ConnectionResetError(104, "reset"), 1, "bug: ConnectionResetError: "),
        (OSError(9, "Bad file descriptor"), 1, "bug: OSError: "),
        (FileNotFoundError("no path in it"), 1, "bug: FileNotFoundError: "),
        (mlflow.MlflowException("API request to http://h/x failed"), 2, "error: the store "),
    ],
)  # fmt: skip
def test_every_error_is_one_line_and_an_exit_code(failing, capsys, error, code, said):
    assert failing(error) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


def test_debug_shows_the_traceback_wherever_it_stands(failing, capsys):
    assert failing(ZeroDivisionError(), "--debug") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert "ZeroDivisionError" in shown.splitlines()[-1]


def test_passwords_are_printed_nowhere(monkeypatch, capsys):
    def fail(*arguments, **options):
        logging.getLogger("poster_ml.x").warning("looking at %s", "http://me:geheim@host")
        raise RuntimeError("no answer from http://me:geheim@host")

    monkeypatch.setattr("poster_ml.commands.synth.run_synth", fail)
    assert cli.run(["synth", "out", "--debug"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("http://me:***@host") >= 3
    assert "geheim" not in shown.replace('http://me:geheim@host")', "")  # the traceback quotes this file


def test_results_go_to_stdout_as_text_or_json_and_progress_does_not(place, capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "")  # put back after the test, whatever --quiet makes of it
    assert cli.run(["synth", "out", "--count", "20", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["count"] == 20
    assert captured.err == "drawing posters: 0 of 20\n"  # stderr is not a terminal: a line in place of a bar
    assert cli.run(["synth", "quiet", "--count", "20", "--json", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_options_that_stand_for_a_key_become_overrides_and_an_empty_text_means_not_given():
    overrides = collect_overrides(["a=1; b=2", "c=3"], weights="none", epochs=0, limit=5)
    assert overrides == ["a=1", "b=2", "c=3", "model.weights=none", "max_samples=5"]
    assert collect_overrides([""], weights="", epochs=0, limit=0, precision="") == []
    assert (path_or_none(""), split_names([""])) == (None, [])


WARNS = """
import sys, warnings
from poster_ml import cli
from poster_ml.commands import synth
def warn(*_, **__):
    warnings.warn("mine")
    for text in ("a type hint is missing", "never seen"):
        exec(compile(f"warnings.warn({text!r})", "x", "exec"), {"__name__": "mlflow.pyfunc", "warnings": warnings})
    return {}
synth.run_synth = warn
sys.exit(cli.run(["synth", "out"]))
"""


def test_own_and_unknown_warnings_are_seen_and_known_ones_are_not():
    said = run_python("-c", WARNS).stderr
    assert "UserWarning: mine" in said
    assert "UserWarning: never seen" in said
    assert "type hint" not in said


def test_a_resumed_run_keeps_its_model_and_protocol(capsys, place):
    tags = {"variant": "mobilenet_v2", "protocol": "sound"}
    with open_run("stopped", tags=tags, system_metrics=False) as run:
        run.end("KILLED")
    resume = ("train", "--resume", run.run_id)
    message = refused(capsys, *resume, "--model", "vgg16")
    assert message.startswith(f"run {run.run_id} is a run of 'mobilenet_v2', but --model says 'vgg16'")
    message = refused(capsys, *resume, "--protocol", "study")
    assert message.startswith(f"run {run.run_id} is a run of 'sound', but --protocol says 'study'")
    message = refused(capsys, *resume, "--model", "mobilenet_v2", "--protocol", "sound")
    assert "is not a training run" in message


def test_a_search_shares_the_gpu_from_before_keras_is_imported(monkeypatch):
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")
    seen = []

    def called(*arguments, **options):
        seen.append(os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH"))

    monkeypatch.setattr("poster_ml.cli.training.run_command", called)
    assert cli.run(["tune", "--model", "vgg16"]) == 0
    assert seen == ["true"]


def test_preprocess_says_that_the_dataset_is_complete_when_its_log_fails(capsys, place, monkeypatch):
    def fail(*arguments, **options):
        raise mlflow.MlflowException("API request to http://host/x failed")

    assert cli.run(["synth", "drawn", "--count", "60", "--quiet"]) == 0
    capsys.readouterr()
    monkeypatch.setattr("poster_ml.pipeline.dataset_run.open_run", fail)
    message = refused(
        capsys, "preprocess", "--table", "drawn/movies.csv", "--posters", "drawn/posters", "--size", "16",
        "--split", "stratified", "--workers", "1",
    )  # fmt: skip
    assert message.startswith("the dataset in data/prepared is complete (`poster-ml explore --data")
    assert (place / "data" / "prepared" / "images.npy").is_file()
