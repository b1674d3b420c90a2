"""The exploration figures show what they say, in the proportions of the source."""

import numpy as np
import pytest

from poster_ml.data.exploration import (
    VERSIONS,
    draw_augmentations,
    draw_denoised,
    draw_foreground,
    draw_regions,
)
from poster_ml.data.reading import PreparedDataset
from poster_ml.data.regions import foreground_mask, mark_regions

ROWS = np.array([7, 3])


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    opened = PreparedDataset.open(tiny_dataset)
    opened.index.loc[ROWS, ["title", "label"]] = [["A title that is far too long", 1], ["Short", 0]]
    return opened


def pictures(figure) -> list[np.ndarray]:
    return [axis.images[0].get_array() for axis in figure.axes if axis.images]


def test_denoised_stands_under_the_original_and_over_what_was_taken(dataset):
    figure = draw_denoised(dataset, ROWS)
    shown = pictures(figure)
    assert len(shown) == 6
    for number, row in enumerate(ROWS):
        assert (shown[number] == dataset.images[row]).all()
    assert abs(float(shown[4].mean()) - 128) < 6  # grey where nothing was taken
    assert figure.axes[0].get_title() == "A title that is far…\nFresh"
    assert figure.axes[1].get_title() == "Short\nRotten"
    for axis in figure.axes:
        assert axis.get_aspect() == pytest.approx(268 / 182)  # squashed pixels that were 182 x 268


def test_the_mask_has_two_colours_each_region_its_mean_and_both_are_named(dataset):
    figure = draw_foreground(dataset, ROWS)
    assert len(np.unique(pictures(figure)[2].reshape(-1, 3), axis=0)) == 2
    assert figure.axes[2].get_xlabel() == f"foreground {foreground_mask(dataset.images[7]).mean():.0%}"
    figure, regions = draw_regions(dataset, ROWS), mark_regions(dataset.images[3])
    for number in np.unique(regions):
        inside = regions == number
        mean = dataset.images[3][inside].mean(axis=0)
        assert np.abs(pictures(figure)[3][inside].astype(float) - mean).max() <= 1
    assert figure.axes[5].get_xlabel().startswith(f"{regions.max() + 1} regions, largest ")


def test_augmentation_sheet_shows_five_numbered_versions(dataset):
    figure = draw_augmentations(dataset, ROWS, lambda batch, version: batch // version, "darker")
    shown = pictures(figure)
    assert len(shown) == 2 * (VERSIONS + 1)
    assert (shown[-1] == dataset.images[3] // VERSIONS).all()
