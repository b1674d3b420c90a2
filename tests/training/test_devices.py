"""Batches split over two devices or two processes of this machine: the numbers of one, up to rounding."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from poster_ml.errors import ClusterError
from poster_ml.pipeline import fit, preflight
from poster_ml.training import devices
from poster_ml.training.devices import device_count, join_processes, shared_batches
from tests.programs import PROJECT, QUICK_COMPILER, run_python

SCRIPT = """
import json, os, tempfile, sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
from poster_ml.training import devices
several = "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ
process = devices.join_processes() if several else 0
from _measure import noise_dataset
from poster_ml.config import ExperimentConfig, replace
from poster_ml.pipeline.fit import fit_model
import keras
settings = {"model.filters": [4], "model.pooling": "average", "model.dense": [4], "train.epochs": 2}
settings |= {"model.dropout": 0.3, "augment.horizontal_flip": True, "augment.rotation": 20}
settings |= {"train.batch_size": 8, "train.optimizer": "adam", "train.ema_momentum": 0.5}
config = replace(ExperimentConfig(), **settings)
def train(place):
    dataset = noise_dataset(place / "data", 60, 16)
    found = fit_model(config, dataset, folder=place / "run", cache_folder=place / "features")
    losses = [epoch[name] for epoch in found.fitted.fit.history for name in ("loss", "val_loss")]
    return losses, list(found.validation_logits)
with tempfile.TemporaryDirectory() as place:
    used, shared = len(keras.distribution.list_devices()), train(Path(place))
odd = even = alone = None
if not several:
    with devices.shared_batches(7) as odd, devices.shared_batches(8) as even:
        pass
    keras.distribution.list_devices = lambda: [None]  # as on a machine with one
    with tempfile.TemporaryDirectory() as place:
        alone = train(Path(place))
print(json.dumps([[used, odd, even], shared, alone]))
"""


def train_on_devices(count):
    flags = f"--xla_force_host_platform_device_count={count} {QUICK_COMPILER}"
    done = run_python("-c", SCRIPT, KERAS_BACKEND="jax", XLA_FLAGS=flags)
    return json.loads(done.stdout.splitlines()[-1])


def train_in_processes(count):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    variables = os.environ | {devices.ADDRESSES: address, devices.PROCESSES: str(count)}
    variables |= {"KERAS_BACKEND": "jax", "XLA_FLAGS": QUICK_COMPILER}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT], cwd=PROJECT, env=variables | {devices.PROCESS: str(number)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(count)
    ]  # fmt: skip
    try:
        ends = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * count, [err[-2000:] for _, err in ends]
    return [json.loads(out.splitlines()[-1]) for out, _ in ends]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="starts JAX itself")
def test_two_devices_and_two_processes_train_like_one():
    """With dropout and augmentation: what is drawn belongs to the batch, not to who computes a part of it."""
    pytest.importorskip("jax", reason="JAX is not installed")
    found = [train_on_devices(2), *train_in_processes(2)]
    assert [used for used, _, _ in found] == [[2, 1, 2], [2, None, None], [2, None, None]]
    losses, logits = found[0][2]
    for _, (shared_losses, shared_logits), _ in found:
        assert shared_losses == pytest.approx(losses, rel=1e-3)
        assert shared_logits == pytest.approx(logits, rel=1e-2, abs=1e-3)


def test_one_device_is_left_alone():
    with shared_batches(7) as count:
        assert count == 1
        assert device_count() == 1


def test_what_several_processes_cannot_do_is_refused(monkeypatch):
    def refused(said, function, *arguments):
        with pytest.raises(ClusterError, match=said):
            function(*arguments)

    data = Path("data")
    monkeypatch.delenv(devices.PROCESSES, raising=False)
    assert not preflight.is_one_of_several(data, "")
    monkeypatch.setenv(devices.PROCESSES, "2")
    assert preflight.is_one_of_several(data, "")
    refused("several processes need one dataset: name it with --data", preflight.is_one_of_several, None, "")
    refused("several processes cannot resume a run", preflight.is_one_of_several, None, "run")
    monkeypatch.setenv(devices.PROCESSES, "two")
    refused("NUM_PROCESSES is a number, received 'two'", preflight.is_one_of_several, data, "")
    if keras.backend.backend() != "jax":
        refused("is for JAX, not for .*: set KERAS_BACKEND=jax, or unset it", join_processes)
    fit._check_agreement("00ff" * 6)
    monkeypatch.setattr(fit, "of_all_processes", lambda own: np.stack([own, own + 1]))
    refused("the processes differ in configuration, dataset", fit._check_agreement, "00ff" * 6)
