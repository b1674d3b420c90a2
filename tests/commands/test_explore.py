"""`explore` on a real prepared dataset of synthetic posters: every figure, the audit, the user's mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.commands.explore import pick_specimens, run_explore, study_augmentation
from poster_ml.data.prepared import PreparedDataset, prepare
from poster_ml.errors import DatasetError
from poster_ml.synthetic.writing import write_posters


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("explore")
    write_posters(folder / "raw", count=60, width=64, height=96)
    table = pd.read_csv(folder / "raw" / "movies.csv")
    table["label"] = (table["tomatometer_status"] == "Fresh").astype(int)
    table["image"] = [str(folder / "raw" / "posters" / f"{name}.jpg") for name in table["movie_id"]]
    rejected = pd.DataFrame(columns=["row", "movie_id", "reason"])
    return prepare(
        table, rejected, folder / "prepared", size=64, fit="squash", split="stratified", seed=1, workers=1
    )


def test_all_figures_and_the_audit_are_written(prepared: PreparedDataset) -> None:
    result = run_explore(prepared.folder, count=2, track=False)
    assert result.folder == prepared.folder / "exploration"
    names = {path.name for path in result.files}
    assert names >= {"samples.png", "denoised.png", "foreground.png", "regions.png", "augmentation.png"}
    assert names >= {"balance_decade.png", "balance_genre.png", "property_associations.png", "properties.csv"}
    assert all(path.is_file() for path in result.files)
    for name in ("denoised.png", "augmentation.png"):
        with Image.open(result.folder / name) as image:
            assert image.width > 300
    assert result.audit.associations["posters"].max() == len(prepared.index)
    PreparedDataset.open(prepared.folder).verify()  # the dataset itself is untouched


def test_shown_posters_come_from_training_half_of_them_fresh(prepared: PreparedDataset) -> None:
    chosen = pick_specimens(prepared, 6, seed=0)
    assert [specimen.label for specimen in chosen] == [1, 1, 1, 0, 0, 0]
    assert chosen[0].aspect == pytest.approx(64 / 96)
    training = prepared.images[prepared.indices("train")]
    for specimen in chosen:
        assert (training == specimen.pixels).all(axis=(1, 2, 3)).any()
    again, other = pick_specimens(prepared, 6, seed=0), pick_specimens(prepared, 6, seed=1)
    assert all((a.pixels == b.pixels).all() for a, b in zip(chosen, again, strict=True))
    assert not all((a.pixels == b.pixels).all() for a, b in zip(chosen, other, strict=True))


def test_the_augmentation_changes_posters_and_repeats_with_its_seed(prepared: PreparedDataset) -> None:
    batch = np.array(prepared.images[:3])
    augment = study_augmentation(5)
    first = augment(batch, 1)
    assert (first.shape, first.dtype) == (batch.shape, np.uint8)
    assert (first != batch).any(axis=(1, 2, 3)).all()
    assert (study_augmentation(5)(batch, 1) == first).all()
    assert (augment(batch, 2) != first).any()


def test_a_missing_dataset_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"prepared dataset .*nowhere does not exist; make it with: poster-ml"
    ):
        run_explore(tmp_path / "nowhere")


def test_nonsense_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        run_explore(tmp_path, count=1)
    assert str(caught.value) == "count must be between 2 and 12 posters per figure, got 1"
    with pytest.raises(DatasetError) as caught:
        run_explore(tmp_path, seed=-1)
    assert str(caught.value) == "seed must be 0 or more, got -1"


def test_a_folder_that_cannot_be_written_is_the_users_mistake(
    prepared: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot write .*file/out: Not a directory; name a folder"):
        run_explore(prepared.folder, tmp_path / "file" / "out", count=2)
