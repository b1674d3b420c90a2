"""Fitting: what is learned, kept, stopped, and taken up again."""

from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from poster_ml.config import TrainConfig
from poster_ml.errors import TrackingError
from poster_ml.training import checkpoint
from poster_ml.training.batches import Samples, predict_logits
from poster_ml.training.fit import StopTraining, class_weights, fit, reset_draws
from poster_ml.training.precision import precision_scope
from tests.training.networks import tiny_network


@pytest.fixture(scope="module")
def task():
    """96 training and 40 validation samples; the label is the sign of the first input, with some noise."""
    numbers = np.random.default_rng(0)
    images = numbers.normal(size=(136, 4)).astype("float32")
    labels = (images[:, 0] + 0.3 * numbers.normal(size=136) > 0).astype(int)
    return tuple(Samples(images, rows, labels[rows]) for rows in (np.arange(96), np.arange(96, 136)))


SETTINGS = TrainConfig(epochs=6, batch_size=16, optimizer="adam", learning_rate=0.02)


def run(
    folder, task, settings=SETTINGS, *, network=None, dropout=0.0, on_epoch=None, identity="same", seed=5
):
    model = network or tiny_network(dropout)
    result = fit(model, *task, settings, seed=seed, folder=folder, identity=identity, on_epoch=on_epoch)
    return model, result


def without_clock(history):
    return [
        {k: v for k, v in epoch.items() if k not in ("epoch_seconds", "images_per_second")}
        for epoch in history
    ]


@pytest.fixture(scope="module")
def undisturbed(task, tmp_path_factory):
    """Trains with these settings, each once: network, result, and what was said of each epoch."""

    @cache
    def train(settings=SETTINGS, precision="float32", network=tiny_network):
        with precision_scope(precision):
            model = network()
        folder, seen = tmp_path_factory.mktemp("whole"), []
        return *run(folder, task, settings, network=model, on_epoch=lambda *said: seen.append(said)), seen

    return train


def test_it_learns_and_logs_every_metric_of_the_interface(undisturbed):
    _, result, seen = undisturbed()
    assert result.history[-1]["val_auc"] > 0.9
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert set(result.history[0]) == {
        "accuracy", "loss", "auc", "val_accuracy", "val_loss", "val_auc",
        "learning_rate", "epoch_seconds", "images_per_second",
    }  # fmt: skip


def test_validation_metrics_are_exact(task, undisturbed):
    model, result, _ = undisturbed(replace(SETTINGS, keep_best=False))
    logits, labels = predict_logits(model, task[1]), task[1].labels
    probabilities = 1 / (1 + np.exp(-logits))
    pairs = (logits[labels == 1][:, None] > logits[labels == 0][None, :]).mean()
    loss = -np.mean(np.where(labels == 1, np.log(probabilities), np.log(1 - probabilities)))
    assert result.history[-1]["val_auc"] == pytest.approx(pairs, abs=1e-9)
    assert result.history[-1]["val_loss"] == pytest.approx(loss, abs=1e-6)
    assert result.history[-1]["val_accuracy"] == np.mean((probabilities > 0.5) == labels)


def test_the_best_epoch_is_kept_and_not_the_last(tmp_path, task):
    settings = replace(SETTINGS, learning_rate=3.0, epochs=8)  # wild: the last is not the best
    model, result = run(tmp_path, task, settings)
    best = max(range(8), key=lambda epoch: result.history[epoch]["val_auc"])
    assert result.best_epoch == best + 1
    assert result.best_epoch < 8
    logits = predict_logits(model, task[1])
    assert roc_auc_score(task[1].labels, logits) == pytest.approx(result.history[best]["val_auc"], abs=1e-6)


def with_dropout():
    return tiny_network(0.3)


PLATEAU = {"schedule": "plateau", "plateau_patience": 1, "plateau_factor": 0.5, "keep_best": False}
RATES = {"layer_rate_decay": 0.5, "optimizer": "rmsprop"}
COSINE = {"schedule": "cosine", "warmup_epochs": 2, "optimizer": "adamw", "weight_decay": 0.01}
AVERAGED = {"ema_momentum": 0.9, "clip_norm": 1.0, "class_weight": "balanced", "label_smoothing": 0.1}
WARM_UP = {"head_warmup_epochs": 2, "ema_momentum": 0.9}


@pytest.mark.parametrize(
    ("after", "extra", "precision"),
    [
        pytest.param(1, {}, "float32", id="plain"),
        pytest.param(3, PLATEAU | RATES, "float32", id="rates"),
        pytest.param(2, COSINE, "float32", id="cosine"),
        pytest.param(3, AVERAGED, "float32", id="averaged"),
        pytest.param(3, AVERAGED, "mixed_float16", id="half"),
        pytest.param(1, WARM_UP, "float32", id="warming"),
        pytest.param(2, WARM_UP, "float32", id="warmed"),
        pytest.param(3, WARM_UP, "float32", id="released"),
    ],
)
def test_a_run_that_was_stopped_ends_with_the_numbers_of_one_that_was_not(
    tmp_path, task, undisturbed, after, extra, precision
):
    settings = replace(SETTINGS, epochs=4, **extra)
    network = two_part_network if "head_warmup_epochs" in extra else with_dropout

    def stop(epoch, metrics):
        if epoch == after:
            raise StopTraining

    whole_model, whole, _ = undisturbed(settings, precision, network)
    with precision_scope(precision):
        first, second = network(), network()
    with pytest.raises(StopTraining):
        run(tmp_path, task, settings, network=first, on_epoch=stop)
    model, resumed = run(tmp_path, task, settings, network=second)
    assert ("LossScale" in type(model.optimizer).__name__) is (precision == "mixed_float16")
    assert resumed.resumed_from == after
    assert without_clock(resumed.history) == without_clock(whole.history)
    assert resumed.best_epoch == whole.best_epoch
    for one, other in zip(model.get_weights(), whole_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("save_best", id="before the best weights"),
        pytest.param("save_state", id="after the best weights"),
        pytest.param("_best", id="before old ones go"),
    ],
)
def test_a_kill_between_two_writes_leaves_state_and_best_weights_of_one_history(
    tmp_path, task, undisturbed, monkeypatch, place
):
    _, whole, _ = undisturbed()
    (tmp_path / ".state.npz.1234abcd.tmp").write_bytes(b"half written")
    original = getattr(checkpoint, place)
    epochs = []

    def killed(*arguments):
        epochs.append(arguments)
        if len(epochs) > 2:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, place, killed)
        run(tmp_path, task)
    _, resumed = run(tmp_path, task)
    assert without_clock(resumed.history) == without_clock(whole.history)
    assert resumed.best_epoch == whole.best_epoch
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"state.npz", f"best-{whole.best_epoch}.npz", ".lock"}


def test_an_epoch_that_was_lost_leaves_no_best_weights_behind(tmp_path, task):
    """Without determinism the lost epoch may not come again: what is kept must be of the history."""
    run(tmp_path, task, replace(SETTINGS, epochs=2))
    lost = tiny_network(seed=9)
    checkpoint.save_best(tmp_path, lost, 99)
    model, result = run(tmp_path, task, replace(SETTINGS, epochs=2))
    assert result.best_epoch in (1, 2)
    assert not np.array_equal(model.get_weights()[0], lost.get_weights()[0])


def test_a_folder_is_trained_into_by_one_process_at_a_time(tmp_path, task):
    refused = pytest.raises(TrackingError, match=r"another process trains into .* now")
    with checkpoint.run_lock(tmp_path), refused:
        run(tmp_path, task)
    run(tmp_path, task, replace(SETTINGS, epochs=1))


def test_a_full_disk_is_told_and_the_last_state_stays(tmp_path, task, monkeypatch):
    run(tmp_path, task, replace(SETTINGS, epochs=2))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    said = r"could not be written \(No space left on device\): free some"
    with monkeypatch.context() as patch, pytest.raises(TrackingError, match=said):
        patch.setattr(checkpoint.np, "savez", full)
        run(tmp_path, task)
    _, result = run(tmp_path, task)
    assert result.resumed_from == 2


def test_the_part_above_a_cached_prefix_can_be_taken_up_by_the_whole_network(tmp_path, task):
    """The features may have been cleared, or the disk may have filled up, between two starts."""
    settings = replace(SETTINGS, epochs=2)
    whole = two_part_network()
    whole.get_layer("backbone").trainable = False
    suffix = keras.Model(whole.get_layer("backbone").output, whole.output)
    features = keras.Model(whole.input, whole.get_layer("backbone").output).predict_on_batch(task[0].images)
    above = [replace(part, images=features) for part in task]
    run(tmp_path, above, settings, network=suffix)
    other = two_part_network()
    other.get_layer("backbone").trainable = False
    _, result = run(tmp_path, task, replace(settings, epochs=3), network=other)
    assert result.resumed_from == 2


def test_a_checkpoint_that_does_not_fit_or_is_damaged_is_refused(tmp_path, task):
    def refused(message, **again):
        with pytest.raises(TrackingError, match=message):
            run(tmp_path, task, **again)

    run(tmp_path, task, replace(SETTINGS, epochs=1))
    refused("belongs to another configuration or dataset", identity="two")
    refused("does not fit the network: weights/backbone/0 should have shape", network=two_part_network())
    (tmp_path / checkpoint.STATE).write_bytes(b"PK\x03\x04 cut short")
    refused(r"is damaged .*; delete it to start anew")


def test_patience_does_not_end_the_warm_up_of_the_head(tmp_path, task):
    slow = replace(SETTINGS, epochs=20, learning_rate=1e-9, patience=2, monitor="val_accuracy")
    settings = replace(slow, head_warmup_epochs=5)
    _, result = run(tmp_path, task, settings, network=two_part_network())
    assert len(result.history) == 7  # five of warm-up, then two without a rise


def two_part_network():
    def dense(units, name, seed, **options):
        initializer = keras.initializers.GlorotUniform(seed=seed)
        return keras.layers.Dense(units, kernel_initializer=initializer, name=name, **options)

    inputs = keras.Input((4,))
    values = dense(8, "dense_1", 1, activation="relu")(dense(8, "backbone", 0, activation="relu")(inputs))
    return keras.Model(inputs, dense(1, "logit", 2)(values))


def test_the_backbone_stands_still_while_the_head_warms_up(tmp_path, task):
    model = two_part_network()
    before = model.get_layer("backbone").get_weights()[0].copy()
    kernels = []
    run(
        tmp_path, task, replace(SETTINGS, head_warmup_epochs=2), network=model,
        on_epoch=lambda *_: kernels.append(model.get_layer("backbone").get_weights()[0].copy()),
    )  # fmt: skip
    np.testing.assert_array_equal(kernels[0], before)
    np.testing.assert_array_equal(kernels[1], before)
    assert np.abs(kernels[2] - before).max() > 1e-4
    assert model.get_layer("backbone").trainable


def test_a_finished_run_is_not_trained_again(tmp_path, task):
    model, first = run(tmp_path, task)
    again, second = run(tmp_path, task, on_epoch=lambda *_: pytest.fail("trained again"))
    assert second.resumed_from == 6
    assert second.history == first.history
    np.testing.assert_array_equal(model.get_weights()[0], again.get_weights()[0])


def test_averaged_weights_are_what_is_scored_and_kept(tmp_path, task):
    settings = replace(SETTINGS, ema_momentum=0.99, epochs=2, keep_best=False)
    averaged, result = run(tmp_path / "ema", task, settings)
    plain, _ = run(tmp_path / "plain", task, replace(settings, ema_momentum=0.0))
    start = tiny_network().get_weights()[0]
    moved = [np.abs(model.get_weights()[0] - start).mean() for model in (averaged, plain)]
    assert moved[0] < 0.5 * moved[1]
    logits = predict_logits(averaged, task[1])
    assert result.history[-1]["val_accuracy"] == np.mean((logits > 0) == task[1].labels)


def test_balanced_class_weights_give_both_classes_the_same_total():
    weights = class_weights(np.array([1, 1, 1, 0]))
    assert weights[0] * 1 == pytest.approx(weights[1] * 3)
    assert (weights[0] * 1 + weights[1] * 3) / 4 == pytest.approx(1.0)


def test_draws_depend_on_seed_and_epoch_alone():
    model = tiny_network(0.5)
    inputs = np.ones((64, 4), "float32")

    def draw(seed, epoch):
        reset_draws(model, seed, epoch)
        return np.asarray(keras.ops.convert_to_numpy(model(inputs, training=True)))

    first = draw(1, 0)
    np.testing.assert_array_equal(draw(1, 0), first)
    assert not np.array_equal(draw(1, 1), first)
    assert not np.array_equal(draw(2, 0), first)


def test_a_network_that_blows_up_is_reported_and_not_hidden(tmp_path, task):
    model = tiny_network()
    model.get_layer("logit").set_weights([np.full((8, 1), np.nan), np.zeros(1)])
    _, result = run(tmp_path, task, replace(SETTINGS, epochs=1), network=model)
    assert np.isnan(result.history[0]["val_auc"])
