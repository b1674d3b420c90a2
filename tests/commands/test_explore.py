"""`explore` on synthetic posters: every figure, the audit, the posters that are shown."""

import numpy as np
import pytest
from PIL import Image

from poster_ml.commands.explore import augment_as_the_study, pick_posters, run_explore
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import DatasetError


def test_all_figures_and_the_audit_are_written(tiny_dataset, tmp_path):
    result = run_explore(tiny_dataset, tmp_path / "out", track=False)
    assert {path.name for path in result.files} >= {
        "denoised.png", "foreground.png", "regions.png", "augmentation.png",
        "balance_decade.png", "balance_genre.png", "property_associations.png", "properties.csv",
    }  # fmt: skip
    for path in result.files:
        assert path.parent == result.folder == tmp_path / "out"
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 300
    assert result.text().startswith("\n".join(result.findings))
    PreparedDataset.open(tiny_dataset).verify()  # the dataset itself is untouched


def test_shown_posters_come_from_training_half_of_them_fresh(tiny_dataset):
    dataset = PreparedDataset.open(tiny_dataset)
    chosen = pick_posters(dataset, 6, seed=0)
    assert dataset.labels(chosen).tolist() == [1, 1, 1, 0, 0, 0]
    assert set(chosen) <= set(dataset.indices("train"))
    assert chosen.tolist() == pick_posters(dataset, 6, seed=0).tolist()
    assert chosen.tolist() != pick_posters(dataset, 6, seed=1).tolist()


def test_the_augmentation_changes_posters_and_repeats_with_its_seed(tiny_dataset):
    batch = np.array(PreparedDataset.open(tiny_dataset).images[:3])
    first = augment_as_the_study(batch, 5)
    assert (first.shape, first.dtype) == (batch.shape, np.uint8)
    assert (first != batch).any(axis=(1, 2, 3)).all()
    assert (augment_as_the_study(batch, 5) == first).all()
    assert (augment_as_the_study(batch, 6) != first).any()


def test_a_missing_dataset_is_named_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(DatasetError, match=r"prepared dataset .*nowhere does not exist; make it with"):
        run_explore(tmp_path / "nowhere")
