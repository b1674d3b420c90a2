"""Decisions fitted on validation, the names that are logged, and the page and card of an evaluated split."""

import base64
import dataclasses
import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit

from poster_ml.config import EvaluateConfig, ExperimentConfig
from poster_ml.evaluation.report_files import References, write_evaluation
from poster_ml.figures import new_figure, save_figure
from poster_ml.pipeline.diagnostics import Diagnostics
from poster_ml.pipeline.evaluate import EvaluationReport, fit_decision_rule
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task
from poster_ml.serving.pyfunc import PosterModel
from poster_ml.serving.settings import ServingSettings, read_settings

LABELS = np.arange(200) % 2
LOGITS = (LABELS - 0.5) + np.random.default_rng(0).normal(size=200)
_BUFFER = io.BytesIO()
Image.linear_gradient("L").resize((32, 48)).convert("RGB").save(_BUFFER, format="PNG")
PICTURE = base64.b64encode(_BUFFER.getvalue()).decode()
CHANGES = [f"{name}_change{end}" for name in ("roc_auc", "accuracy") for end in ("", "_ci_low", "_ci_high")]
SHORTCUTS = pd.DataFrame({"perturbation": ["none", "border masked", "blur"], "posters": 9}).assign(
    **{"roc_auc": 0.6, "accuracy": 0.5, **dict.fromkeys(CHANGES, -0.1)},
    roc_auc_falls=[False, True, False],  # blur: below 0, but not after correction
)


def measure(mean: float, better: bool = True) -> dict[str, float]:
    return {"mean": mean, "ci_low": mean - 0.1, "ci_high": mean + 0.1, "better": better}


FAITHFULNESS = {
    "scores": {"model": {score: measure(0.3) for score in ("deletion", "insertion", "road")}},
    "against": {
        "edges": {"deletion": measure(0.2), "insertion": measure(0.15, better=False), "road": measure(0.4)},
        "centre": {score: measure(0.3) for score in ("deletion", "insertion", "road")},
    },
}


@pytest.fixture
def evaluation(tmp_path):
    posters = pd.DataFrame({"movie_id": [f"tt{number}" for number in range(200)], "label": LABELS})
    result = write_evaluation(
        tmp_path / "evaluation" / "test", posters, 1 / (1 + np.exp(-LOGITS)), References(0.5, {}, None, []),
        threshold=0.5, repeats=100, confidence=0.95, seed=0,
    )  # fmt: skip
    return EvaluationReport("test", result, FAITHFULNESS, Diagnostics(SHORTCUTS))


def test_the_costs_of_the_configuration_move_the_threshold():
    def threshold(**costs: float) -> float:
        return fit_decision_rule(LOGITS, LABELS, EvaluateConfig(threshold="cost", **costs)).threshold

    assert threshold(cost_false_fresh=5) > threshold() > threshold(cost_false_rotten=5)
    assert fit_decision_rule(LOGITS, LABELS, EvaluateConfig(cost_false_fresh=5)).threshold == 0.5


EXTREME = {
    "useful": LOGITS,
    "constant": np.full(200, -0.4),
    "huge": 2000.0 * LOGITS,
    "separated": 1000.0 * (LABELS - 0.5),
    "always Rotten": np.full(200, -800.0),
    "always Fresh": np.full(200, 800.0),
    "wrong way round": -1000.0 * (LABELS - 0.5),
}
SETTINGS = (
    {"threshold": "youden"},
    {"threshold": "cost", "cost_false_fresh": 10.0},
    {"threshold": "cost", "cost_false_rotten": 10.0},
    {},
)


@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.parametrize("logits", EXTREME.values(), ids=EXTREME)
def test_every_fitted_decision_is_served_as_it_was_fitted(logits, calibrate, tmp_path):
    """The whole seam: temperature and threshold from validation, the settings file, the served rows."""
    network = SimpleNamespace(  # returns the next logits of the list, whatever the picture
        predict_on_batch=lambda pixels: np.resize(logits, (len(pixels), 1)).astype("float32")
    )
    seen = logits[:64].astype("float32").astype("float64")
    for settings in SETTINGS:
        rule = fit_decision_rule(logits, LABELS, EvaluateConfig(calibrate=calibrate, **settings))
        file = tmp_path / "settings.json"
        ServingSettings(32, threshold=rule.threshold, temperature=rule.temperature).write(file)
        served = PosterModel()
        served.prepare(network, read_settings(file))
        rows = served.predict(None, pd.DataFrame({"image": [PICTURE] * 64}))
        assert rows["error"].isna().all()
        assert list(rows["label"] == "Fresh") == list(expit(seen / rule.temperature) >= rule.threshold)


def test_metrics_carry_the_split_and_their_intervals(evaluation):
    metrics = evaluation.metrics()
    assert metrics["test_shortcut_border_masked_auc_change"] == -0.1
    assert metrics["test_faithfulness_road_over_edges"] == 0.4
    assert metrics["test_faithfulness_road_over_edges_ci_low"] == pytest.approx(0.3)
    assert "test_roc_auc_ci_high" in metrics
    bare = EvaluationReport("val", evaluation.result, None, Diagnostics()).metrics()
    assert not [name for name in bare if "faithfulness" in name or "shortcut" in name]
    assert all(name.startswith("val_") for name in bare)


DATASET = SimpleNamespace(
    folder=Path("prepared"),
    fingerprint="f" * 32,
    index=range(500),
    size=64,
    manifest={
        "options": {"split": "grouped"},
        "class_balance": {"train": {"posters": 300, "fresh_share": 0.6}},
    },
)


def written(evaluation, folder, *changes) -> tuple[str, str]:
    """The page and the card of an evaluation whose shortcuts were drawn."""
    explained = folder / "explain" / evaluation.split
    explained.mkdir(parents=True, exist_ok=True)
    save_figure(new_figure()[0], explained / "shortcuts.png")
    write_report(folder, "abc", evaluation, Task(ExperimentConfig(), DATASET, "full"), *changes)
    return (folder / "report.html").read_text(), (folder / "model_card.md").read_text()


def test_page_and_card_say_what_was_found_and_what_the_model_is_not_for(evaluation, tmp_path):
    page, card = written(evaluation, tmp_path)
    assert re.findall("<h2>(.*)</h2>", page) == [
        "What this says",
        "All numbers",
        "How well it separates Fresh from Rotten",
        "Does it lean on shortcuts?",
        "Do the maps show what the model uses?",
        "What was run",
    ], "what was not measured has no heading"
    auc = evaluation.result.intervals["roc_auc"].text()
    for text in (
        "ROC AUC falls significantly with: border masked (-0.100) (Holm",
        "Against edges the maps are better in deletion, road; not in insertion.",
        "Against centre the maps are better in deletion, insertion, road.",
        f'alt="ROC curve, area {auc}: how many Fresh posters',
        f"<td>{auc}</td>",
    ):
        assert text in page
    assert page.count("<img ") == 5
    for text in (
        f"| ROC AUC | {auc} |",
        "## Intended use",
        "## Limits",
        "Not for decisions about people, funding or release.",
        "300 posters, 60.0% of them Fresh",
        "| seed | 42 |",
    ):
        assert text in card
    assert len(card) < 4500, "a registry holds 5,000 characters"


@pytest.mark.parametrize(
    ("split", "trained_on", "said", "fitted_on"),
    [
        ("train", "", "figures of training posters are too high", "300 posters"),
        ("val", DATASET.fingerprint, "a little too high", "300 posters"),
        ("val", "e" * 32, "", f"Another dataset than it was evaluated on: fingerprint {'e' * 32}."),
        ("test", "", "", "300 posters"),
    ],
)
def test_figures_that_flatter_are_called_so_and_the_card_says_what_was_fitted_on(
    evaluation, tmp_path, split, trained_on, said, fitted_on
):
    page, card = written(dataclasses.replace(evaluation, split=split), tmp_path, trained_on)
    for text in (page, card):
        assert said in text
        assert ("too high" in text) == bool(said)
    assert fitted_on in card
    assert ("300 posters" in card) == (fitted_on == "300 posters")
