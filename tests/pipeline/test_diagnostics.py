"""Shortcut tests, pointing game and claims, wired to a dataset whose cause is known."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.image_files import match_images
from poster_ml.data.prepared import PreparedDataset, prepare
from poster_ml.data.tables import read_table
from poster_ml.errors import ExplanationError
from poster_ml.explain.maps import Explainer
from poster_ml.pipeline import diagnostics, poster_boxes
from poster_ml.pipeline.diagnostics import (
    TRAINING_POSTERS,
    Diagnostics,
    EvaluatedSplit,
    draw_order,
    run_diagnostics,
)
from poster_ml.pipeline.poster_boxes import PosterBoxes, find_boxes
from poster_ml.pipeline.report import diagnostic_sections, pointing_section
from poster_ml.synthetic.writing import write_posters
from tests.synthetic.scores import score_regions

CONFIG = replace(
    ExperimentConfig(),
    **{"explain.shortcut_posters": 80, "explain.detect_posters": 260, "evaluate.appearance_posters": 260},
)


def prepared(folder: Path, table: str = "synthetic") -> PreparedDataset:
    synthetic = folder / "synthetic"
    if not synthetic.exists():
        write_posters(synthetic, count=400, seed=1, bayes_accuracy=0.95, width=90, height=120)
    movies, unmatched = match_images(read_table(synthetic / "movies.csv").movies, synthetic / "posters")
    out = folder / f"prepared_{table}"
    prepare(movies, unmatched, out, size=48, fit="squash", split="grouped", seed=42, source={"table": table})
    return PreparedDataset.open(out)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("diagnostics"))


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((48, 48, 3), dtype="uint8")
    tensor = keras.layers.Rescaling(1 / 255)(image)
    tensor = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(tensor)
    tensor = keras.layers.GlobalAveragePooling2D()(tensor)
    return keras.Model(image, keras.layers.Dense(1, name="logit")(tensor))


def subject_of(dataset: PreparedDataset, network: keras.Model) -> EvaluatedSplit:
    """A model that knows the rule where it is asked for probabilities, and sees redness where it looks."""
    rows = dataset.indices("train", 0, 42)
    posters = dataset.index.iloc[rows].reset_index(drop=True)
    regions = pd.read_csv(dataset.folder.parent / "synthetic" / "regions.csv")
    score = score_regions(regions, 90, 120).loc[posters["movie_id"]].to_numpy()

    def predict(images: np.ndarray) -> np.ndarray:
        means = images.astype(float).mean(axis=(1, 2))
        return 1 / (1 + np.exp(-(means[:, 0] - means[:, 2]) / 20))

    order = draw_order(posters, dataset.fingerprint)
    return EvaluatedSplit(
        Explainer(network), predict, 0.5, dataset, rows, posters, 1 / (1 + np.exp(-4 * score)), order
    )


@pytest.fixture(scope="module")
def complete(dataset, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    return run_diagnostics(subject_of(dataset, network), CONFIG, folder, complete=True), folder


def test_the_planted_claims_are_found_in_the_truth_and_in_a_model_that_knows_them(complete):
    diagnostics, folder = complete
    assert diagnostics.appearance is not None
    titles, crowds, _ = diagnostics.appearance.claims
    assert titles.feature == "title_largest_share"
    assert crowds.feature == "figures_count"
    for claim in (titles, crowds):
        assert claim.verdicts == {"truth": "supported", "model": "supported"}
    table = pd.read_csv(folder / "appearance.csv").set_index("feature")
    assert table.loc["title_largest_share", "truth_effect_ci_low"] > 5
    assert table.loc["figures_count", "truth_effect_ci_high"] < -5
    assert table.loc["figures_count", "posters"] == table["posters"].max()
    assert not {"title_count", "corner_top_left"} & set(table.index)
    assert (folder / "appearance.png").stat().st_size > 5000


def test_what_was_drawn_is_hidden_too_each_with_a_control(dataset, network, tmp_path):
    knowing = subject_of(dataset, network)
    seen = knowing.predict(knowing.images(np.arange(len(knowing.rows))))
    diagnostics = run_diagnostics(
        dataclasses.replace(knowing, probabilities=seen), CONFIG, tmp_path, complete=True
    )
    table = pd.read_csv(tmp_path / "shortcuts.csv")
    expected = ["none", "blur", "greyscale", "mirror", "border masked", "centre masked"]
    expected += ["title masked", "title control", "figures masked", "figures control"]
    assert table["perturbation"].tolist() == expected
    assert (table["posters"] == 80).all()
    # The model reads the mean colour: a mirror changes nothing, grey takes all of it away.
    rows = table.set_index("perturbation")
    assert rows.loc["mirror", "roc_auc_change"] == 0
    assert rows.loc["greyscale", "roc_auc"] == 0.5
    # What falls is said after correction for all nine changes, hidden boxes and others together.
    p_values = rows["roc_auc_change_p"].drop("none")
    assert rows["roc_auc_change_p_holm"].min() == pytest.approx(9 * p_values.min(), rel=1e-4)
    significant = (rows["roc_auc_change_p_holm"] < 0.05) & (rows["roc_auc_change"] < 0)
    assert rows["roc_auc_falls"].tolist() == significant.tolist()
    metrics = diagnostics.metrics()
    assert metrics["shortcut_mirror_auc_change"] == 0
    change = rows.loc["title masked", "roc_auc_change"]
    assert metrics["shortcut_title_masked_auc_change"] == pytest.approx(change, abs=1e-5)
    assert {f"shortcut_title_masked_auc_change_ci_{end}" for end in ("low", "high")} <= set(metrics)
    assert not any("none" in name for name in metrics)


def test_the_pointing_game_is_played_where_the_cause_is_known(complete):
    diagnostics, folder = complete
    assert diagnostics.pointing["title"]["posters"] == 128
    assert (folder / "pointing.json").is_file()
    assert "pointing_title_over_centre_ci_low" in diagnostics.metrics()
    table = pointing_section(diagnostics.pointing).table
    assert list(table["what"]) == ["Fresh map points at the title", "Rotten map points at the figures"]


def test_the_report_says_what_was_found(complete):
    diagnostics, folder = complete
    shortcuts, appearance = diagnostic_sections(folder, diagnostics)
    assert len(shortcuts.table) == 10
    assert shortcuts.table["change of ROC AUC"][0] == ""
    assert shortcuts.findings[0].endswith(" (Holm's correction over 9 changes).")
    assert appearance.findings[0].startswith("Claim: Fresh posters have big titles. Supported by the critics")
    assert all(path.is_file() for section in (shortcuts, appearance) for path in section.figures)


def test_every_beginning_of_the_order_has_the_balance_and_the_years_of_the_whole():
    random = np.random.default_rng(3)
    labels = (random.random(1278) < 0.59).astype(int)
    posters = pd.DataFrame(
        {
            "movie_id": [f"tt{number}" for number in range(1278)],
            "label": labels,
            "year": pd.array(random.integers(1930, 2020, 1278) - 20 * labels, "Int64"),
        }
    )
    posters.loc[:9, "year"] = pd.NA
    for fingerprint in "abcdefgh":
        order = draw_order(posters, fingerprint)
        assert sorted(order) == list(range(1278))
        for count in (64, 500):
            first = posters.iloc[order[:count]]
            assert abs(first["label"].mean() - labels.mean()) < 2 / count
            assert abs(first["year"].mean() - posters["year"].mean()) < 200 / count
    assert draw_order(posters, "a")[0] != draw_order(posters, "b")[0]
    assert draw_order(posters.iloc[:1], "a").tolist() == [0]


def test_every_model_of_a_dataset_is_tested_on_the_same_posters(dataset, network, tmp_path, monkeypatch):
    """Whatever a model says and whichever seed it was trained with: same posters, so the boxes are known."""
    asked: list[list[int]] = []

    def remember(dataset: PreparedDataset, rows: np.ndarray, positions: np.ndarray) -> PosterBoxes:
        asked.append(rows[positions].tolist())
        return PosterBoxes(positions)

    monkeypatch.setattr(diagnostics, "find_boxes", remember)
    evaluated = subject_of(dataset, network)
    for seed, said in ((1, evaluated.probabilities), (2, evaluated.probabilities[::-1].copy())):
        model = dataclasses.replace(evaluated, probabilities=said)
        run_diagnostics(model, replace(CONFIG, seed=seed), tmp_path, complete=True)
    assert asked[0] == asked[1]
    rows = np.arange(len(evaluated.rows))
    shuffled = np.random.default_rng(0).permutation(rows)
    again = shuffled[draw_order(evaluated.posters.iloc[shuffled], dataset.fingerprint)]
    assert again.tolist() == evaluated.order.tolist(), "nor does the order of the rows matter"


def test_after_training_only_few_posters_and_no_boxes(dataset, network, tmp_path):
    diagnostics = run_diagnostics(subject_of(dataset, network), CONFIG, tmp_path, complete=False)
    assert diagnostics.shortcuts is not None
    assert (diagnostics.shortcuts["posters"] == TRAINING_POSTERS).all()
    assert diagnostics.shortcuts["perturbation"].iloc[-1] == "centre masked"
    assert diagnostics.appearance is None
    assert diagnostics.pointing == {}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shortcuts.csv", "shortcuts.png"]


def test_nothing_is_done_where_nothing_is_asked(dataset, network, tmp_path):
    keys = ("explain.shortcut_posters", "explain.detect_posters", "evaluate.appearance_posters")
    config = replace(CONFIG, **dict.fromkeys(keys, 0))
    diagnostics = run_diagnostics(subject_of(dataset, network), config, tmp_path, complete=True)
    assert diagnostics == Diagnostics()
    assert list(tmp_path.iterdir()) == []


def test_posters_of_one_class_are_said_to_be_untestable(dataset, network, tmp_path):
    evaluated = subject_of(dataset, network)
    fresh = np.flatnonzero(evaluated.posters["label"] == 1)
    few = dataclasses.replace(evaluated, order=fresh)
    diagnostics = run_diagnostics(few, CONFIG, tmp_path, complete=False)
    assert diagnostics.shortcuts is None
    assert diagnostics.notes == ["No shortcut tests: the 64 posters drawn for them are of one class."]
    assert diagnostic_sections(tmp_path, diagnostics)[0].paragraphs == diagnostics.notes


def test_drawn_boxes_are_scaled_to_the_prepared_posters(dataset):
    rows = dataset.indices("test", 0, 42)
    found = find_boxes(dataset, rows, np.array([3, 1]))
    assert found.drawn
    regions = pd.read_csv(dataset.folder.parent / "synthetic" / "regions.csv")
    movie = dataset.index["movie_id"].iloc[rows[3]]
    box = regions[(regions["movie_id"] == movie) & (regions["kind"] == "title")].iloc[0]
    scaled = box[["left", "top", "right", "bottom"]].to_numpy(float) * 48 / [90, 120, 90, 120]
    assert found.boxes["title"][0] == [pytest.approx(scaled.tolist())]
    assert found.first(1).positions.tolist() == [3]


def test_detectors_are_asked_once_per_poster_and_their_absence_is_said(tmp_path, monkeypatch, dataset):
    real = prepared(dataset.folder.parent, "movies.csv")  # not called synthetic: nobody knows its boxes
    asked: list[int] = []

    def text_detector():
        def detect(image: np.ndarray) -> list[tuple[float, float, float, float]]:
            asked.append(1)
            return [(0.0, 0.0, 24.0, 12.0), (0.0, 24.04, 48.0, 48.0)]

        return detect

    def missing():
        raise ExplanationError("finding faces needs the package 'mtcnn'")

    monkeypatch.setenv("POSTER_ML_CACHE", str(tmp_path))
    monkeypatch.setattr(poster_boxes, "DETECTORS", {"text": text_detector, "faces": missing})
    rows = real.indices("test", 0, 42)
    first = find_boxes(real, rows, np.array([0, 2]))
    assert first.notes == ["Not looked for: faces, since finding faces needs the package 'mtcnn'."]
    assert not first.drawn
    second = find_boxes(real, rows, np.array([2, 0, 5]))
    assert len(asked) == 3  # two, then only the new one
    assert second.boxes["text"][0] == first.boxes["text"][1]
    features = second.features(len(rows), 48)
    assert features["text_share"].iloc[[0, 2, 5]].tolist() == pytest.approx([0.625] * 3)
    assert features["text_count"].notna().sum() == 3
    from poster_ml.training.features import list_entries

    assert [entry.about["shape"] for entry in list_entries(tmp_path)] == ["boxes of text and faces"]
