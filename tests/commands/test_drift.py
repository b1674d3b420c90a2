"""`drift`: a log against the dataset of the training, what counts in it, and what cannot be compared."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

from poster_ml.cli import run
from poster_ml.commands.drift import run_drift
from poster_ml.errors import DatasetError, EvaluationError, RegistryError
from poster_ml.serving.prediction_log import PredictionLog, input_statistics
from tests.commands.datasets import write_dataset
from tests.refusals import refusal

SIZE = 40
SPLITS = ["train"] * 300 + ["val"] * 100 + ["test"] * 50


def posters(count, seed, brighter=0):
    """Smooth random pictures, so that brightness differs from one to the next."""
    random = np.random.default_rng(seed)
    base = random.integers(20, 180, (count, 1, 1, 1)) + random.integers(-20, 20, (count, 5, 5, 3))
    return np.kron(np.clip(base + brighter, 0, 255), np.ones((1, 8, 8, 1), int)).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    images = posters(len(SPLITS), 0)
    return write_dataset(tmp_path_factory.mktemp("prepared"), images, SPLITS, np.arange(len(SPLITS)) % 2)


def write_log(path, images, *, model="m-1", width=182, key="a", probability=None):
    random = np.random.default_rng(7)
    log = PredictionLog(path, 10_000_000, 2, model)
    entries = []
    for number, pixels in enumerate(images):
        chance = probability if probability is not None else random.beta(2, 2)
        shape = {"width": width, "height": 260 + number % 9, "file_bytes": 20000 + 37 * (number % 101)}
        facts = {"poster": f"{key}{number:015x}", **shape, **input_statistics(pixels)}
        entries.append({**facts, "probability": chance, "error": None})
    log.write(entries)
    return path


def verdicts(result):
    return {item["name"]: item["verdict"] for item in result.features}


def test_a_period_like_training_shows_none(dataset, tmp_path):
    result = run_drift(write_log(tmp_path / "log", posters(150, 1)), dataset)
    names = "brightness contrast saturation width height aspect file_bytes"
    assert list(verdicts(result).items()) == [(name, "none seen") for name in names.split()]
    assert result.verdict == "no drift seen"
    assert result.text().splitlines()[-1] == "verdict: no drift seen"
    assert result.notes == ("probabilities were not compared: name the model with --model-uri",)


def test_planted_drift_is_found_where_it_was_planted(dataset, tmp_path):
    result = run_drift(write_log(tmp_path / "a", posters(150, 1, brighter=45)), dataset)
    assert verdicts(result)["brightness"] in ("moderate", "major")
    assert verdicts(result)["width"] == "none seen"
    assert result.verdict.startswith("drift in brightness")
    result = run_drift(write_log(tmp_path / "b", posters(150, 1), width=1000), dataset)
    assert (verdicts(result)["width"], verdicts(result)["aspect"]) == ("major", "major")
    assert verdicts(result)["brightness"] == "none seen"


def test_each_poster_counts_once_and_failures_are_told(dataset, tmp_path):
    # The keys in the log are the first digits of the files' SHA-256: all zeros for the first posters here.
    path = write_log(tmp_path / "log", posters(100, 1), key="0")
    write_log(path, posters(100, 1), key="0")
    PredictionLog(path, 10_000_000, 2, "m-1").write([{"probability": None, "error": "not an image"}] * 3)
    with path.open("a") as handle:
        handle.write('{"time": "then", "probability": 1}\nnonsense\n')
    result = run_drift(path, dataset)
    assert (result.log_rows, result.posters, result.repeated, result.failed) == (203, 100, 100, 3)
    assert (result.broken_lines, result.known) == (2, 1)
    assert "2 lines of the log are broken and were left out" in result.notes


def test_only_the_period_counts(dataset, tmp_path):
    path = write_log(tmp_path / "log", posters(120, 1, brighter=60), key="b")
    text = path.read_text().replace('"time": "20', '"time": "19')
    path.write_text(text)
    write_log(path, posters(120, 2))
    assert run_drift(path, dataset, since="2000-01-01").verdict == "no drift seen"
    early = run_drift(path, dataset, until="2000-01-01T00:00")
    assert early.posters == 120
    assert early.verdict.startswith("drift in brightness")
    assert run_drift(path, dataset).posters == 240


@pytest.fixture
def model(monkeypatch):
    """A model whose logit is the brightness of the poster."""
    inner = SimpleNamespace(
        settings=SimpleNamespace(size=SIZE, fit="squash", temperature=2.0),
        logits=lambda pixels: pixels.mean(axis=(1, 2, 3)) / 40 - 2.5,
    )
    loaded = SimpleNamespace(unwrap_python_model=lambda: inner)
    monkeypatch.setattr("poster_ml.serving.load.load_poster_model", lambda uri: loaded)
    monkeypatch.setattr("poster_ml.serving.load.identify", lambda model, uri: {"model_id": "m-1"})
    monkeypatch.setattr("poster_ml.tracking.store.connect", lambda: "0")
    return inner


def test_probabilities_are_compared_with_what_the_model_says_of_validation(dataset, tmp_path, model):
    images, path = posters(150, 3), tmp_path / "log"
    for number, pixels in enumerate(images):
        chance = float(expit(model.logits(pixels[None])[0] / 2.0))
        write_log(path, [pixels], key=f"{number:04x}", probability=chance)
    result = run_drift(path, dataset, model_uri="m")
    by_name = {item["name"]: item for item in result.features}
    assert by_name["probability"]["verdict"] == "none seen"
    assert by_name["probability"]["reference_posters"] == SPLITS.count("val")
    write_log(path, images[:120], model="m-2", key="c", probability=0.5)
    again = run_drift(path, dataset, model_uri="m")
    assert {item["name"]: item["current_posters"] for item in again.features}["probability"] == 150
    note = "probabilities are those of m-1; 120 rows of other models count for the inputs only"
    assert again.notes == (note,)
    sure = write_log(tmp_path / "sure", images, probability=0.99)
    assert verdicts(run_drift(sure, dataset, model_uri="m"))["probability"] == "major"


def test_a_model_that_wrote_nothing_or_another_size_is_refused(dataset, tmp_path, model):
    path = write_log(tmp_path / "log", posters(60, 1), model="m-9")
    assert refusal(DatasetError, run_drift, path, dataset, model_uri="models:/poster-cnn/1") == (
        "the period has no row of models:/poster-cnn/1 (m-1): name the model that answered then, "
        "whose id is in every line of the log"
    )
    model.settings.size = 224
    path = write_log(tmp_path / "log2", posters(60, 1))
    said = refusal(DatasetError, run_drift, path, dataset, model_uri="m")
    assert "was prepared with size 40 and fit squash, the model takes 224 and" in said


@pytest.mark.parametrize(
    ("error", "options", "said"),
    [
        (DatasetError, {"since": "yesterday"},
         "--since must be a date or time such as 2026-01-31 or 2026-01-31T18:00, got 'yesterday'"),
        (DatasetError, {"until": "2000-01-01"}, "no entry in the period; it has 30 in all: change --since or"),
        (EvaluationError, {}, "brightness: 30 posters on one side, at least 50 are needed"),
        (RegistryError, {"model_uri": "gone"}, "no model at 'gone'"),
    ],
)  # fmt: skip
def test_periods_and_models_that_cannot_be_are_refused(dataset, tmp_path, error, options, said):
    log = write_log(tmp_path / "log", posters(30, 1))
    assert said in refusal(error, run_drift, log, dataset, **options)


def test_the_command_prints_a_table_or_json(dataset, tmp_path, capsys):
    log = str(write_log(tmp_path / "log", posters(120, 1)))
    assert run(["drift", "--log", log, "--data", str(dataset)]) == 0
    lines = capsys.readouterr().out.splitlines()
    counted = "120 posters in 120 rows (0 repeated, 0 could not be scored), 0 of them in the dataset"
    assert lines[0].endswith(counted)
    assert lines[2].split() == ["feature", "training", "period", "PSI", "p", "KS", "p", "drift"]
    assert run(["drift", "--log", log, "--data", str(dataset), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "no drift seen"
    assert run(["drift", "--log", str(tmp_path / "no"), "--data", str(dataset)]) == 2
    assert "no prediction log at" in capsys.readouterr().err
