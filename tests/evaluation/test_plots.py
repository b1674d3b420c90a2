from pathlib import Path

import pytest
from PIL import Image

from poster_ml.evaluation.forest import ForestRow, draw_forest
from poster_ml.evaluation.plots import draw_training_curves
from poster_ml.evaluation.stats import Interval


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {"accuracy": 0.5 + 0.02 * step, "val_accuracy": 0.55, "loss": 0.7, "val_loss": 0.69, "auc": 0.6,
         "val_auc": 0.58, "learning_rate": 1e-3}
        for step in range(epochs)
    ]  # fmt: skip


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_a_panel_for_every_metric_that_is_there(tmp_path):
    full = draw_training_curves(tmp_path / "a.png", history(6), best_epoch=3, majority_accuracy=0.58)
    bare = [{"accuracy": 0.5, "loss": 0.7, "val_accuracy": float("nan")}]
    small = draw_training_curves(tmp_path / "b.png", bare, best_epoch=None, majority_accuracy=None)
    # Four panels stand two by two, so that they can be read on a phone; two stand side by side.
    assert size(full)[0] == size(small)[0]
    assert size(full)[1] == pytest.approx(6.5 / 3.4 * size(small)[1], rel=0.01)
    with pytest.raises(ValueError, match="at least one epoch, got none"):
        draw_training_curves(tmp_path / "a.png", [], best_epoch=None, majority_accuracy=None)


def test_a_forest_grows_with_its_rows(tmp_path):
    row = ForestRow("a", Interval(0.6, 0.5, 0.7), "n = 10")
    short, long = (
        draw_forest(tmp_path / f"{rows}.png", [row] * rows, label="AUC", title="t", reference=0.5)
        for rows in (1, 10)
    )
    assert size(long)[1] > 2 * size(short)[1]
