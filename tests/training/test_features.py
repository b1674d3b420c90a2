"""The frozen prefix: run once, kept, checked, shared, taken up after a kill."""

import logging
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from poster_ml.augment.colour import RandomBrightness
from poster_ml.training import features
from poster_ml.training.batches import Samples
from poster_ml.training.features import cached_features, clear_entries, digest, list_entries
from poster_ml.training.precision import precision_scope

POSTERS = np.random.default_rng(0).integers(0, 256, size=(300, 6, 5, 3), dtype=np.uint8)


def prefix(seed=0):
    inputs = keras.Input((6, 5, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    initializer = keras.initializers.GlorotUniform(seed=seed)
    return keras.Model(inputs, keras.layers.Conv2D(2, 3, kernel_initializer=initializer)(scaled))


class Counting:
    """Counts the different posters that go through a prefix; a batch may be filled up with repeats."""

    def __init__(self, model, stop_after=None):
        self.model, self.count, self.stop_after = model, 0, stop_after
        self.layers, self.output = model.layers, model.output

    def predict_on_batch(self, batch):
        if self.stop_after is not None and self.count >= self.stop_after:
            raise KeyboardInterrupt
        self.count += len(np.unique(batch.reshape(len(batch), -1), axis=0))
        return self.model.predict_on_batch(batch)


def samples(rows=None):
    rows = np.arange(5, 295) if rows is None else rows
    return Samples(POSTERS, rows, np.zeros(len(rows), int))


def compute(tmp_path, model, which=None, about=None, **options):
    return cached_features(
        model, which or samples(), about=about or {"dataset": "d"}, folder=tmp_path, **options
    )


def test_features_are_those_of_the_prefix_in_the_order_of_the_rows(tmp_path):
    model = prefix()
    found = compute(tmp_path, model, samples(np.array([7, 3, 299])))
    expected = keras.ops.convert_to_numpy(model.predict_on_batch(POSTERS[[7, 3, 299]]))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable


def test_a_log_is_told_how_many_posters_are_to_do_and_how_many_were_done_before(
    tmp_path, caplog, monkeypatch
):
    """Under `mlflow run` stderr is not a terminal, and the frozen layers may take a quarter of an hour."""
    monkeypatch.setenv("TQDM_DISABLE", "")
    logger = logging.getLogger("poster_ml.progress")
    logger.addHandler(caplog.handler)
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level("INFO", logger="poster_ml.progress")
    try:
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path, Counting(prefix(), stop_after=200))
        compute(tmp_path, prefix())
    finally:
        logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == [
        "running the frozen layers on posters: 0 of 290",
        "running the frozen layers on posters: 256 of 290",
    ]


def test_everything_that_features_depend_on_is_part_of_the_key(tmp_path, monkeypatch):
    compute(tmp_path, prefix(seed=0))
    compute(tmp_path, prefix(seed=1))
    compute(tmp_path, prefix(seed=0), samples(np.arange(10)))
    compute(tmp_path, prefix(seed=0), about={"dataset": "other"})
    for place in ("keras.backend.backend", "poster_ml.training.features.code_digest"):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_: "another")
            compute(tmp_path, prefix(seed=0))
    assert len(list_entries(tmp_path)) == 6


def test_the_second_call_computes_nothing_unless_the_entry_was_damaged(tmp_path):
    model = Counting(prefix())
    good = np.array(compute(tmp_path, model))
    np.testing.assert_array_equal(compute(tmp_path, model), good)
    assert model.count == 290
    (file,) = tmp_path.glob("*/features.npy")
    content = bytearray(file.read_bytes())
    content[-3] ^= 0xFF
    file.write_bytes(content)
    np.testing.assert_array_equal(compute(tmp_path, model), good)
    assert model.count == 580


def test_after_an_interruption_only_the_rest_is_computed(tmp_path):
    whole = np.array(compute(tmp_path / "whole", prefix()))
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path / "cut", Counting(prefix(), stop_after=features.CHUNK))
    (unfinished,) = list_entries(tmp_path / "cut")
    assert unfinished.about == {"unfinished": True}
    rest = Counting(prefix())
    np.testing.assert_array_equal(compute(tmp_path / "cut", rest), whole)
    assert rest.count == 290 - features.CHUNK


def test_views_stand_one_after_another_and_are_augmented_by_position(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 4)
    positions = []

    def augment(batch, position):
        positions.append(position)
        return batch if position < 4 else 255 - batch

    which = samples(np.arange(4))
    found = compute(tmp_path, prefix(), which, augment=augment, views=2)
    model = prefix()
    np.testing.assert_allclose(found[:4], model.predict_on_batch(POSTERS[:4]), atol=1e-6)
    np.testing.assert_allclose(found[4:], model.predict_on_batch(255 - POSTERS[:4]), atol=1e-6)
    assert positions == [0, 4]


def test_entries_are_listed_and_cleared(tmp_path):
    compute(tmp_path, prefix(), about={"dataset": "abc", "precision": "float32"})
    (entry,) = list_entries(tmp_path)
    assert (entry.about["dataset"], entry.about["shape"]) == ("abc", [290, 4, 3, 2])
    assert entry.megabytes == pytest.approx(290 * 4 * 3 * 2 * 4 / 1e6, rel=0.02)
    assert clear_entries(tmp_path) == pytest.approx(entry.megabytes)
    assert list_entries(tmp_path) == []
    assert list_entries(tmp_path / "nowhere") == []


def test_the_type_that_the_prefix_computes_is_kept_and_nothing_is_lost(tmp_path):
    with precision_scope("mixed_bfloat16"):
        model = prefix()
    found = compute(tmp_path, model, samples(np.arange(9)))
    assert found.dtype == "bfloat16"
    expected = keras.ops.convert_to_numpy(model.predict_on_batch(POSTERS[:9]))
    np.testing.assert_array_equal(found.astype("float32"), expected.astype("float32"))
    (file,) = tmp_path.glob("*/features.npy")
    assert file.stat().st_size == pytest.approx(9 * 4 * 3 * 2 * 2, abs=128)  # two bytes each and a header


def test_posters_as_they_are_share_features_whatever_the_augmentation():
    def with_augmentation(strength):
        inputs = keras.Input((6, 5, 3), dtype="uint8")
        images = RandomBrightness(strength, seed=3)(inputs)
        initializer = keras.initializers.GlorotUniform(seed=0)
        return keras.Model(inputs, keras.layers.Conv2D(2, 3, kernel_initializer=initializer)(images))

    weak, strong = with_augmentation(0.1), with_augmentation(0.5)
    assert digest(weak, augmented=False) == digest(strong, augmented=False)
    assert digest(weak) != digest(strong)


def test_runs_of_other_seeds_share_features_where_the_weights_are_the_same():
    one, other, third = prefix(seed=0), prefix(seed=1), prefix(seed=1)
    other.set_weights(one.get_weights())
    assert digest(other) == digest(one) != digest(third)


def reserve_nothing(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("os.posix_fallocate", reserve_nothing, "No space left on device"),
        ("shutil.disk_usage", lambda _: SimpleNamespace(free=2 * 27_839), "more than half of what is free"),
    ],
)
def test_features_that_the_disk_cannot_hold_are_not_kept_which_is_said(
    tmp_path, monkeypatch, caplog, place, value, reason
):
    monkeypatch.setattr(place, value)
    model = Counting(prefix())
    assert compute(tmp_path, model) is None
    assert model.count == 0
    assert f"({reason}): not kept, the frozen layers run in every epoch" in caplog.text
    assert not list(tmp_path.glob("*.partial"))


def test_processes_that_want_the_same_entry_compute_it_once(tmp_path):
    model = Counting(prefix())
    with ThreadPoolExecutor(4) as pool:  # a lock per open file: threads exclude each other like processes
        found = list(pool.map(lambda _: np.array(compute(tmp_path, model)), range(4)))
    assert model.count == 290
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
