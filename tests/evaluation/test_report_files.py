import json

import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.baselines import colour_histograms, cross_fitted, fit_baselines
from poster_ml.evaluation.metrics import METRIC_NAMES
from poster_ml.evaluation.report_files import References
from tests.evaluation.worlds import evaluate, movies, said

FILES = {
    "roc.png", "precision_recall.png", "confusion_matrix.png", "calibration.png", "predictions.csv",
    "classification_report.txt", "classification_report.json", "slices.csv", "scores.csv",
}  # fmt: skip


def test_all_files_and_all_numbers(tmp_path):
    train, posters = movies(200, 1), movies(90, 3)
    images = np.random.default_rng(0).integers(0, 255, (290, 9, 7, 3), dtype=np.uint8)
    colours = tuple(colour_histograms(images, rows) for rows in (np.arange(200), np.arange(200, 290)))
    baselines, notes = fit_baselines(train, posters, colours, seed=0)
    combination = cross_fitted(train, posters, said(posters), seed=0)
    references = References(0.625, baselines, combination, notes)
    result = evaluate(tmp_path / "evaluation" / "test", posters, references)
    assert {path.name for path in result.folder.iterdir()} >= FILES
    for name in FILES:
        if name.endswith(".png"):
            with Image.open(result.folder / name) as picture:
                assert min(picture.size) > 400
    names = [
        *METRIC_NAMES,
        *(f"baseline_{name}_roc_auc" for name in ("year", "genre", "year_genre", "colour")),
    ]
    names += [
        "poster_beyond_metadata_auc_gain",
        "year_genre_poster_roc_auc",
        "combined_roc_auc",
        "combined_ece",
    ]
    for name in names:
        low, value, high = (result.metrics[name + end] for end in ("_ci_low", "", "_ci_high"))
        assert low <= value <= high, name
    assert result.metrics["roc_auc"] == pytest.approx(roc_auc_score(posters["label"], said(posters)))
    assert result.metrics["baseline_year_genre_roc_auc"] > 0.7
    assert result.metrics["majority_accuracy"] == 0.625
    assert all(isinstance(value, float) for value in result.metrics.values())
    assert (result.notes, result.optimistic) == ([], True)


def test_predictions_can_be_read_back(tmp_path):
    posters = movies(30, 3)
    evaluate(tmp_path, posters, threshold=0.6)
    table = pandas.read_csv(tmp_path / "predictions.csv")
    columns = "movie_id title year genres label logit probability predicted correct"
    assert list(table.columns) == columns.split()
    assert table["movie_id"].tolist() == posters["movie_id"].tolist()
    assert table["title"][3] == 'Movie, "3"'
    np.testing.assert_allclose(table["probability"], said(posters), rtol=1e-8)
    np.testing.assert_allclose(1 / (1 + np.exp(-table["logit"])), table["probability"], rtol=1e-7)
    assert (table["predicted"] == (table["probability"] >= 0.6)).all()
    assert (table["correct"] == (table["predicted"] == table["label"])).all()
    report = json.loads((tmp_path / "classification_report.json").read_text())
    assert report["accuracy"] == pytest.approx(table["correct"].mean())
    assert report["Fresh"]["support"] == posters["label"].sum()
    assert "Rotten" in (tmp_path / "classification_report.txt").read_text()


def test_a_handful_of_posters_with_bare_columns_is_enough(tmp_path):
    evaluate(tmp_path, pandas.DataFrame({"movie_id": ["a", "b"], "label": [0, 1]}))
    assert {path.name for path in tmp_path.iterdir()} >= FILES
    assert pandas.read_csv(tmp_path / "predictions.csv")["title"].isna().all()
    assert pandas.read_csv(tmp_path / "slices.csv").empty


def test_a_gain_that_cannot_be_had_is_noted_and_one_class_is_refused_before_anything_is_written(tmp_path):
    posters = movies(40, 1)
    result = evaluate(tmp_path / "a", posters, References(0.5, {"year_genre": said(posters)}, None, ["One."]))
    assert result.gain is None
    assert [note.split(":")[0] for note in result.notes] == ["One.", "No gain over year + genres"]
    with pytest.raises(EvaluationError, match="metrics need both classes"):
        evaluate(tmp_path / "new", movies(30, 1).assign(label=1))
    assert not (tmp_path / "new").exists()
