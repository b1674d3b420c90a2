"""No command writes to, cuts, renames or removes what it was pointed at and did not make itself.

Every command is called with every path option pointing at files and a folder of somebody else's; whatever it
answers, their bytes stay. A new option fails here until it is said what it is.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

from poster_ml import cli
from poster_ml.config import REPOSITORY
from poster_ml.data.download import download_posters
from poster_ml.data.tables import read_table
from poster_ml.errors import DownloadError, PosterMLError
from poster_ml.quiet import load_keras
from poster_ml.serving.prediction_log import PredictionLog
from tests.pictures import encode, poster

# What a command writes to, and what it only reads.
WRITTEN = {
    "demo out", "synth out", "download out", "preprocess out", "explore out", "suite out", "compare out",
    "explain out", "predict out", "export out", "tune storage",
}  # fmt: skip
READ = {
    "download table", "preprocess table", "preprocess posters", "explore data", "train data", "train experiment",
    "train weights", "suite data", "suite weights", "tune data", "tune weights", "ensemble data", "evaluate data",
    "evaluate model_uri", "explain posters", "explain model_uri", "explain data", "predict posters", "predict model_uri",
    "drift log", "drift data", "drift model_uri", "quantize data", "quantize model_uri",
    "rank posters", "rank model_uri", "app data", "app model_uri",
}  # fmt: skip
# Options whose text names no path.
TEXTS = {
    "columns", "dataset", "dialect", "endpoint", "family", "fold", "genres", "host", "layer", "model", "name",
    "only", "overrides", "precision", "protocol", "pruner", "resume", "run", "runs", "sampler", "scheduler",
    "since", "study", "until", "what_if",
}  # fmt: skip
VARIABLES = {  # environment variable -> names a path
    "POSTER_ML_CACHE": True,
    "POSTER_ML_PREDICTION_LOG": True,
    "POSTER_ML_PREDICTION_LOG_MB": False,
    "POSTER_ML_PREDICTION_LOG_FILES": False,
    "POSTER_ML_SCHEDULER": False,
}
COMMANDS = typer.main.get_command(cli.app).commands
HINTS = {
    info.name or info.callback.__name__: get_type_hints(info.callback)
    for info in cli.app.registered_commands
    if info.callback is not None
}
KINDS = ("table", "line", "picture", "database", "folder")
PICTURE = encode(poster(), "JPEG")
STOPPED = "Keras would be loaded here"


@pytest.fixture
def place(mlflow_place, monkeypatch):
    """A folder to work in that holds what commands need, and stops before Keras."""
    work = mlflow_place / "work"
    (work / "posters").mkdir(parents=True)
    (work / "posters" / "tt1.jpg").write_bytes(PICTURE)
    header = "movie_id,title,year,genres,tomatometer_rating,tomatometer_status,image_url"
    (work / "movies.csv").write_text(f"{header}\ntt1,Heat,1995,Crime,87,Fresh,ftp://x.test/a.jpg\n")
    monkeypatch.chdir(work)

    def stop() -> None:
        raise PosterMLError(STOPPED)

    monkeypatch.setattr("poster_ml.cli.output.load_keras", stop)
    return mlflow_place


def make_foreign(place: Path, kind: str) -> Path:
    """Makes something of somebody else's in a folder of its own, `place / "theirs"`."""
    theirs = place / "theirs"
    theirs.mkdir()
    path = theirs / "precious.csv"  # the ending that `predict --out` wants
    if kind == "database":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    elif kind == "folder":
        path = theirs / "folder"
        (path / "posters").mkdir(parents=True)
        (path / "prepared").mkdir()
        (path / "posters" / "holiday.jpg").write_bytes(PICTURE)
        for name in (
            "thesis.txt", ".notes.tmp", "images.npy", "manifest.json", "synthetic.json", "movies.csv", "download.csv",
            "report.html", "suite.md", "suite.csv", "pairs.csv", "pairs.png", "maps_1.png", "audit.json", "entry.json",
        ):  # fmt: skip
            (path / name).write_text("[1, 2]")
    else:
        table = b"movie_id,title\ntt1,Heat\ntt2,Ran"  # no line break at its end
        path.write_bytes({"table": table, "line": b"garbage", "picture": PICTURE}[kind])
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Returns everything below a folder with its content."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else b"a folder" for name, path in files.items()}


def arguments(command: str, option: str, value: Path | str) -> list[str]:
    """Returns a call of a command with one option pointing at a value and the others as they need be."""
    needed: dict[str, Any] = {
        "table": "movies.csv", "posters": "posters", "model_uri": "models:/nothing@champion", "runs": "1",
        "model": "mobilenet_v2", "out": "new.csv", "log": "log.jsonl", "data": "nowhere",
    }  # fmt: skip
    words = [command]
    for parameter in COMMANDS[command].params:
        if parameter.name != option and not parameter.required:
            continue
        text = str(value if parameter.name == option else needed[parameter.name])
        words += [text] if parameter.param_type_name == "argument" else [parameter.opts[0], text]
    return words


def test_every_option_that_takes_a_text_is_known_here():
    assert set(HINTS) == set(COMMANDS)
    assert len(COMMANDS) >= 20
    texts, paths = set(), set()
    for command, hints in HINTS.items():
        for name, hint in hints.items():
            if "Path" in str(hint):
                paths.add(f"{command} {name}")
            words = re.findall(r"\w+", re.sub(r"Literal\[.*?\]", "", str(hint)))
            if {"str", "Path"} & set(words) and name not in TEXTS:
                texts.add(f"{command} {name}")
    assert texts == WRITTEN | READ, "say in WRITTEN, READ or TEXTS what a new option is"
    assert paths <= WRITTEN | READ
    assert len(WRITTEN) >= 11


def test_every_variable_of_the_environment_is_known_here():
    sources = [path.read_text() for path in (REPOSITORY / "poster_ml").rglob("*.py")]
    assert len(sources) > 100
    assert set(re.findall(r"\bPOSTER_ML_[A-Z_]+\b", "\n".join(sources))) == set(VARIABLES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", sorted(WRITTEN))
def test_what_is_not_ours_is_refused_before_keras_and_stays(place, capsys, case, kind):
    command, option = case.split()
    theirs = make_foreign(place, kind)
    before = contents(place)
    code = cli.run(arguments(command, option, theirs))
    said = capsys.readouterr().err.splitlines()
    assert contents(place) == before
    assert code == 2, said
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert STOPPED not in said[0]
    assert str(theirs) in said[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", sorted(READ))
def test_what_is_read_stays_as_it_is(place, monkeypatch, case, kind):
    command, option = case.split()
    if option != "weights":  # weights are wanted when the training begins
        monkeypatch.setattr("poster_ml.cli.output.load_keras", load_keras)
    theirs = make_foreign(place, kind)
    before = contents(place / "theirs")
    assert cli.run(arguments(command, option, theirs)) == 2
    assert contents(place / "theirs") == before


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("database", "is the database of another program (it has a table 'alembic_version'): "),
        ("table", "exists and holds no SQLite database: give another file"),
        ("folder", "is a folder: give a file"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
def test_a_database_of_another_program_gets_no_tables_of_ours(place, capsys, kind, answer, scheme):
    theirs = make_foreign(place, kind)
    before = contents(place)
    assert cli.run(["tune", "--model", "mobilenet_v2", "--storage", f"{scheme}{theirs}"]) == 2
    assert answer in capsys.readouterr().err
    assert contents(place) == before


@pytest.mark.parametrize("kind", KINDS)
def test_starting_afresh_is_no_leave_to_write_over_a_file(place, kind):
    theirs = make_foreign(place, kind)
    before = contents(place)
    assert cli.run([*arguments("predict", "out", theirs), "--no-resume"]) == 2
    assert contents(place) == before


def test_a_download_adds_to_a_folder_of_posters_and_changes_none(place):
    theirs = make_foreign(place, "folder")
    (theirs / "download.csv").unlink()
    before = contents(theirs)
    movies = read_table(Path("movies.csv"), require=("image_url",)).movies
    with pytest.raises(DownloadError, match="no poster could be downloaded"):
        download_posters(movies, theirs)
    after = contents(theirs)
    assert after.pop("download.csv")
    assert after == before


def test_a_cache_in_a_folder_of_others_clears_its_own_entries_only(place, capsys, monkeypatch):
    pytest.importorskip("keras")
    theirs = make_foreign(place, "folder")
    odd, entry = theirs / ("0a" * 12), theirs / ("1b" * 12)  # names of entries; the first holds a thesis
    for folder in (odd, entry):
        folder.mkdir()
        (folder / "features.npy").write_bytes(b"0" * 100_000)
    (odd / "thesis.txt").touch()
    before = contents(theirs)
    monkeypatch.setenv("POSTER_ML_CACHE", str(theirs))
    assert cli.run(["cache"]) == 0
    assert "1 entries in" in capsys.readouterr().out
    assert contents(theirs).items() >= before.items()
    assert cli.run(["cache", "--clear"]) == 0
    assert "0.1 MB freed" in capsys.readouterr().out
    assert not entry.exists()
    kept = {name: digest for name, digest in before.items() if not name.startswith(entry.name)}
    assert contents(theirs).items() >= kept.items()


def test_a_cache_that_is_a_file_is_refused(place, capsys, monkeypatch):
    theirs = make_foreign(place, "line")
    monkeypatch.setenv("POSTER_ML_CACHE", str(theirs))
    assert cli.run(["cache", "--clear"]) == 2
    assert capsys.readouterr().err == f"error: POSTER_ML_CACHE {theirs} is a file: give a folder\n"
    assert theirs.read_bytes() == b"garbage"


def test_a_running_service_neither_writes_into_nor_rotates_over_a_file_of_others(place, caplog):
    theirs = make_foreign(place, "table")
    before = contents(place)
    PredictionLog(theirs, 10, 1).write([{"number": 1}])  # it was put there after the service had started
    assert contents(place) == before
    log = PredictionLog(place / "log", 10, 2)
    (place / "log.1").write_text("a letter")
    for number in range(3):
        log.write([{"number": number}])
    assert (place / "log.1").read_text() == "a letter"
    assert caplog.text.count("scoring continues") == 2
