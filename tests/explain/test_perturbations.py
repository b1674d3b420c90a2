import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from poster_ml.evaluation.stats import delong_difference, paired_accuracy_difference
from poster_ml.explain.perturbations import (
    PERTURBATIONS,
    blur,
    box_perturbations,
    greyscale,
    mask_border,
    mask_centre,
    mirror,
    shortcut_table,
)


def posters(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Noise; Fresh posters carry a red stripe on the left border: the planted shortcut."""
    draw = np.random.default_rng(0)
    images = draw.integers(60, 120, (count, 30, 20, 3), dtype=np.uint8)
    labels = draw.permutation(np.arange(count) % 2)
    images[labels == 1, :, :2] = (250, 20, 20)
    return images, labels


def border_reader(images: np.ndarray) -> np.ndarray:
    """A model that reads the shortcut only: how red the left border is."""
    border = images[:, :, :2].astype(float).mean(axis=(1, 2))
    return 1 / (1 + np.exp(-(border[:, 0] - border[:, 1] - 50) / 20))


def test_planted_shortcut_is_found_by_the_perturbations_that_touch_it():
    images, labels = posters()
    table = shortcut_table(border_reader, images, border_reader(images), labels).set_index("perturbation")
    assert list(table.index) == ["none", *PERTURBATIONS]
    assert table.loc["none", "roc_auc"] == table.loc["none", "accuracy"] == 1
    assert table.loc["none", "roc_auc_change"] == table.loc["none", "accuracy_change_ci_high"] == 0
    touched = table.loc[["border masked", "greyscale", "mirror"]]
    assert (touched["accuracy"] < 0.6).all()
    assert (touched["accuracy_change_ci_high"] < -0.25).all()
    assert (touched["accuracy_change_ci_low"] <= touched["accuracy_change"]).all()
    assert touched.loc["mirror", "roc_auc_change_ci_high"] < -0.1
    assert (table.loc[["blur", "centre masked"], "roc_auc_change"] == 0).all()


def test_each_perturbation_does_what_its_name_says():
    images, _ = posters(2)
    np.testing.assert_array_equal(mirror(mirror(images)), images)
    np.testing.assert_array_equal(mirror(images)[0, :, 0], images[0, :, -1])
    grey = greyscale(images)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert blur(images)[:, :, 8:].std() < images[:, :, 8:].std()
    border, centre = mask_border(images), mask_centre(images)
    np.testing.assert_array_equal(border[:, 3:-3, 2:-2], images[:, 3:-3, 2:-2])
    np.testing.assert_allclose(border[0, 0, 0], images[0, 3:-3, 2:-2].mean(axis=(0, 1)), atol=0.51)
    assert np.ptp(border[0, :, 0], axis=0).max() == 0
    np.testing.assert_array_equal(centre[:, :8], images[:, :8])
    assert np.ptp(centre[0, 8:-8, 5:-5].reshape(-1, 3), axis=0).max() == 0


def test_a_change_has_the_paired_intervals_of_a_comparison():
    images, labels = posters(40)
    before, after = np.random.default_rng(1).random((2, 40))
    table = shortcut_table(lambda _: after, images, before, labels, {"mirror": mirror}, confidence=0.9)
    found = table.iloc[1]
    auc, p_value = delong_difference(labels, after, before, 0.9)
    assert (found["roc_auc_change_ci_low"], found["roc_auc_change_p"]) == pytest.approx((auc.low, p_value))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(labels, after))
    right, was_right = (after >= 0.5) == labels, (before >= 0.5) == labels
    gained, lost = int((right & ~was_right).sum()), int((was_right & ~right).sum())
    accuracy = paired_accuracy_difference(gained, lost, 40, 0.9)
    assert found["accuracy_change_ci_high"] == pytest.approx(accuracy.high)


def test_boxes_are_removed_with_a_control_of_the_same_size_elsewhere():
    images = np.full((2, 30, 20, 3), 100, np.uint8)
    images[0, 5:10, 4:16] = 255
    made = box_perturbations({"text": [[(4, 5, 16, 10)], []]}, 30, 20, seed=1)
    assert list(made) == ["text masked", "text control"]
    masked, control = (made[name](images) for name in made)
    assert np.abs(masked[0].astype(int) - 100).max() < 15
    np.testing.assert_array_equal(masked[0, 10:], images[0, 10:])
    assert (control[0, 5:10, 4:16] == 255).any()
    touched = (control[0] != images[0]).any(axis=-1)
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    assert 5 <= np.ptp(rows) + 1 <= 6
    assert 12 <= np.ptp(columns) + 1 <= 13
    for changed in (masked, control):
        np.testing.assert_array_equal(changed[1], images[1])
