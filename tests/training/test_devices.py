"""Batches split over two virtual devices of the processor: the numbers of one device, up to rounding."""

import json

import keras
import pytest

from poster_ml.training.devices import device_count, shared_batches
from tests.programs import run_python

SCRIPT = """
import json, sys, tempfile
from pathlib import Path
sys.path.insert(0, "benchmarks")
from _measure import noise_dataset
from poster_ml.config import ExperimentConfig, replace
from poster_ml.training.devices import shared_batches
from poster_ml.pipeline.fit import fit_model
import keras
with tempfile.TemporaryDirectory() as place:
    place = Path(place)
    settings = {"model.filters": [4], "model.pooling": "average", "model.dense": [4], "train.epochs": 3}
    settings |= {"train.batch_size": 8, "train.optimizer": "adam", "train.ema_momentum": 0.5}
    config = replace(ExperimentConfig(), **settings)
    dataset = noise_dataset(place / "data", 60, 16)
    found = fit_model(config, dataset, folder=place / "run", cache_folder=place / "features")
    with shared_batches(7) as odd, shared_batches(8) as even:
        pass
    used = [len(keras.distribution.list_devices()), odd, even]
    print(json.dumps([used, [epoch["val_loss"] for epoch in found.fit.history], list(found.validation_logits)]))
"""


def train(devices):
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    done = run_python("-c", SCRIPT, KERAS_BACKEND="jax", XLA_FLAGS=flags)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="starts JAX itself")
def test_two_devices_train_like_one():
    pytest.importorskip("jax")
    (one, losses, logits), (two, shared_losses, shared_logits) = train(1), train(2)
    assert one == [1, 1, 1]
    assert two == [2, 1, 2]
    assert shared_losses == pytest.approx(losses, rel=1e-3)
    assert shared_logits == pytest.approx(logits, rel=1e-2, abs=1e-3)


def test_one_device_is_left_alone():
    with shared_batches(7) as count:
        assert count == 1
        assert device_count() == 1
