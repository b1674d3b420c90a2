"""The exploration figures show what they say, in the proportions of the source."""

from __future__ import annotations

import numpy as np
import pytest

from poster_ml.data.exploration import (
    VERSIONS,
    Specimen,
    draw_augmentations,
    draw_denoised,
    draw_foreground,
    draw_regions,
    draw_samples,
)
from poster_ml.data.regions import foreground_mask, mark_regions
from poster_ml.figures import save_figure
from poster_ml.synthetic.drawing import Plan, draw_poster


def specimen(number: int, label: int) -> Specimen:
    plan = Plan("Silent River", 0.15, 0.8, True, 3, 0.1 * number, False)
    image = draw_poster(plan, 96, 96, np.random.default_rng(number)).image  # a squashed 96 x 144 poster
    return Specimen(np.asarray(image), "A title that is far too long to stand here", label, 96 / 144)


@pytest.fixture(scope="module")
def specimens() -> list[Specimen]:
    return [specimen(1, 1), specimen(2, 0)]


def pictures(figure) -> list[np.ndarray]:
    return [axis.images[0].get_array() for axis in figure.axes if axis.images]


def test_denoised_stands_under_the_original_and_over_what_was_taken(specimens, tmp_path) -> None:
    figure = draw_denoised(specimens)
    shown = pictures(figure)
    assert len(shown) == 6
    assert (shown[0] == specimens[0].pixels).all()
    assert (shown[1] == specimens[1].pixels).all()
    assert abs(float(shown[4].mean()) - 128) < 6  # grey where nothing was taken
    assert save_figure(figure, tmp_path / "denoised.png").stat().st_size > 10_000


def test_the_mask_has_two_colours_and_its_share_is_named(specimens) -> None:
    figure = draw_foreground(specimens)
    assert len(np.unique(pictures(figure)[2].reshape(-1, 3), axis=0)) == 2
    share = foreground_mask(specimens[0].pixels).mean()
    assert figure.axes[2].get_xlabel() == f"foreground {share:.0%}"


def test_each_region_has_its_colour_and_the_count_is_named(specimens) -> None:
    figure = draw_regions(specimens)
    count = mark_regions(specimens[1].pixels).max() + 1
    assert len(np.unique(pictures(figure)[3].reshape(-1, 3), axis=0)) == count
    assert figure.axes[5].get_xlabel().startswith(f"{count} regions, largest ")


def test_pictures_are_shown_in_the_proportions_of_the_source(specimens) -> None:
    for axis in draw_regions(specimens).axes:
        assert axis.get_aspect() == pytest.approx(1.5)  # 96 x 96 pixels that were 96 x 144


def test_titles_are_cut_and_labels_named(specimens) -> None:
    figure = draw_denoised(specimens)
    assert figure.axes[0].get_title() == "A title that is far…\nFresh"
    assert figure.axes[1].get_title() == "A title that is far…\nRotten"


def test_augmentation_sheet_shows_five_versions_with_seeds_of_their_own(specimens) -> None:
    seeds: list[int] = []

    def darker(batch: np.ndarray, seed: int) -> np.ndarray:
        seeds.append(seed)
        return batch // 2

    shown = pictures(draw_augmentations(specimens, darker, seed=7, description="darker"))
    assert seeds == [7, 8, 9, 10, 11]
    assert len(shown) == 2 * (VERSIONS + 1)
    assert (shown[VERSIONS + 1] == specimens[1].pixels).all()
    assert (shown[-1] == specimens[1].pixels // 2).all()


def test_an_augmentation_that_changes_the_shape_is_refused(specimens) -> None:
    with pytest.raises(ValueError, match=r"augment must keep batch.shape=\(2, 96, 96, 3\) and uint8, got"):
        draw_augmentations(specimens, lambda batch, _: batch[:, :10], seed=0, description="")


def test_samples_put_fresh_above_rotten(specimens) -> None:
    figure = draw_samples([*specimens[::-1], *specimens], columns=3)
    shown = pictures(figure)
    assert [bool((picture == specimens[0].pixels).all()) for picture in shown] == [True, True, False, False]
    colors = [axis.spines["top"].get_edgecolor() for axis in figure.axes if axis.images]
    assert colors[0] == colors[1] != colors[2] == colors[3]
