"""Batches: every sample once, in an order of seed and epoch."""

from pathlib import Path

import numpy as np

from poster_ml.training import batches as batches_module
from poster_ml.training.batches import Batches, Samples, iterate, predict_logits

IMAGES = np.arange(40, dtype="float32").reshape(20, 2)


def samples(**options):
    rows = np.array([3, 1, 4, 15, 9, 2, 6])
    return Samples(IMAGES, rows, np.array([0, 1, 0, 1, 0, 1, 0]), **options)


def seen(batches):
    return [
        (int(image[0]) // 2, int(label))
        for images, labels in iterate(batches)
        for image, label in zip(images, labels[:, 0], strict=True)
    ]


PAIRS = [(3, 0), (1, 1), (4, 0), (15, 1), (9, 0), (2, 1), (6, 0)]


def test_without_a_seed_samples_come_in_their_own_order():
    assert seen(Batches(samples(), 3)) == PAIRS


def test_with_a_seed_every_sample_comes_once_with_its_own_label():
    batches = Batches(samples(), 3, seed=1)
    assert [labels.shape for _, labels in iterate(batches)] == [(3, 1), (3, 1), (1, 1)]
    assert sorted(seen(batches)) == sorted(PAIRS)


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        batches = Batches(samples(), 2, seed)
        batches.set_epoch(epoch)
        return seen(batches)

    assert order(1, 4) == order(1, 4)
    assert order(1, 4) != order(1, 5)
    assert order(1, 4) != order(2, 4)


def test_every_epoch_takes_one_of_the_views_of_each_sample():
    stacked = np.concatenate([IMAGES, IMAGES + 1000])
    several = Samples(stacked, np.arange(20), np.zeros(20), views=2, stride=20)
    batches = Batches(several, 20, seed=0)
    images, _ = batches[0]
    originals = np.sort(images[:, 0] % 1000)
    np.testing.assert_array_equal(originals, IMAGES[:, 0])
    assert 0 < (images[:, 0] >= 1000).sum() < 20


def test_logits_come_in_the_order_of_the_rows_and_a_short_batch_is_filled_up():
    lengths = []

    class Model:
        def predict_on_batch(self, images):
            lengths.append(len(images))
            return images.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(
        predict_logits(Model(), samples(), batch_size=3), IMAGES[samples().rows].sum(1)
    )
    assert lengths == [3, 3, 3]
    assert len(predict_logits(Model(), samples(), batch_size=64)) == 7
    assert lengths[3:] == [7]


def test_mapped_pages_are_given_back_and_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(batches_module, "RELEASE_BYTES", 2**20)
    count = 2**10  # rows of 64 KiB, batches of 1 MiB
    np.save(tmp_path / "images.npy", np.arange(count * 2**14, dtype="float32").reshape(count, 2**14))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    batches = Batches(Samples(mapped, np.arange(count), np.zeros(count)), 16, seed=0)
    before, most = mapped_bytes(), 0
    for images, _ in iterate(batches):
        most = max(most, mapped_bytes() - before)
        np.testing.assert_array_equal(images[:, 1], images[:, 0] + 1)
    assert most < 2**24  # without it all of the 64 MiB


def mapped_bytes():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "RssFile" in line]
    return int(line.split()[1]) * 1024


def test_processes_read_parts_of_a_shuffled_batch_that_make_it_up(monkeypatch):
    whole = seen(Batches(samples(), 6, seed=1))[:6]
    parts = []
    for process in (0, 1):
        monkeypatch.setattr(batches_module, "process_share", lambda process=process: (process, 2))
        images, labels = Batches(samples(), 6, seed=1)[0]
        assert labels.shape == (3, 1)
        parts += [(int(image[0]) // 2, int(label)) for image, label in zip(images, labels[:, 0], strict=True)]
        assert seen(Batches(samples(), 3)) == PAIRS
    assert parts == whole
