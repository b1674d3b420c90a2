"""`quantize`: a version that says nearly the same, offered with its figures or refused with them."""

from types import SimpleNamespace

import keras
import mlflow
import numpy as np
import pytest

from poster_ml.commands import quantize as module
from poster_ml.commands.quantize import run_quantize
from poster_ml.config import ExperimentConfig, to_yaml
from poster_ml.errors import RegistryError
from poster_ml.serving import quantize
from poster_ml.serving.load import load_keras_model, load_poster_model, model_folder
from poster_ml.serving.log import log_poster_model
from poster_ml.serving.quantize import CHUNK, QuantizedNetwork, quantize_network
from tests.commands.datasets import write_dataset
from tests.refusals import refusal

SIZE = 32


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="poster")
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = keras.layers.BatchNormalization()(x, training=False)
    x = keras.layers.MaxPooling2D(4)(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="logit")(x))


def pictures(count, seed):
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 4, 4, 3))
    return np.kron(small, np.ones((1, 8, 8, 1), int)).astype(np.uint8)


@pytest.fixture(scope="module")
def content(network):
    return quantize_network(network, pictures(60, 0))


def test_the_quantised_network_says_nearly_the_same(network, content):
    images = pictures(2 * CHUNK + 5, 1)
    quantized = QuantizedNetwork(content)
    logits = quantized.predict_on_batch(images)
    assert (logits.shape, logits.dtype) == ((2 * CHUNK + 5, 1), np.float32)
    wanted = network.predict_on_batch(images)
    assert np.corrcoef(logits[:, 0], wanted[:, 0])[0, 1] > 0.99
    assert not np.allclose(logits, wanted, atol=1e-6), "nothing was quantized"
    alone = np.concatenate([quantized.predict_on_batch(images[row : row + 1]) for row in range(len(images))])
    np.testing.assert_array_equal(logits, alone)
    assert quantized.predict_on_batch(images[:0]).shape == (0, 1)


def test_what_is_no_network_is_refused():
    with pytest.raises(RegistryError, match=r"^the quantized network cannot be read \(.+\): make it again$"):
        QuantizedNetwork(b"not a network")


def test_another_backend_cannot_quantise(network, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RegistryError, match="Keras runs on jax: set KERAS_BACKEND=tensorflow"):
        quantize_network(network, pictures(1, 0))


@pytest.fixture
def source(mlflow_store, network):
    """A training run with a model and a dataset whose labels the network half knows."""
    splits = ["train"] * 80 + ["val"] * 120 + ["test"] * 10
    images = pictures(len(splits), 3)
    logits = network.predict(images, verbose=0)[:, 0]
    noise = np.random.default_rng(4).normal(0, logits.std(), len(logits))
    labels = (logits + noise > np.median(logits)).astype(int)
    folder = write_dataset(mlflow_store / "prepared", images, splits, labels)
    with mlflow.start_run(run_name="trained") as run:
        mlflow.log_text(to_yaml(ExperimentConfig()), "experiment.yaml")
        mlflow.log_param("data", str(folder))
        mlflow.log_param("model.family", "cnn")
        mlflow.set_tags({"dataset.fingerprint": "f" * 64, "profile": "full"})
        info = log_poster_model(network, size=SIZE, variant="basic_cnn", family="cnn")
    return SimpleNamespace(run_id=run.info.run_id, uri=info.model_uri)


def test_a_quantized_version_is_offered_with_its_figures(source, monkeypatch):
    monkeypatch.setattr(module, "MOST_AUC_CHANGE", 0.05)
    monkeypatch.setattr(module, "speed_ratio", lambda network, quantized, pixels: 2.0 + len(pixels))
    result = run_quantize(source.uri)
    metrics = result.metrics
    assert metrics["quantized_speed_ratio_batch_1"] == 3.0
    difference = metrics["quantized_auc_difference"]
    low, high = (metrics[f"quantized_auc_difference_ci_{end}"] for end in ("low", "high"))
    assert low <= difference <= high
    assert "on 120 validation posters; same label for" in result.figures
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("poster-cnn", "quantized")
    run = client.get_run(version.run_id)
    assert run.data.tags["mlflow.parentRunId"] == run.data.tags["quantized_of"] == source.run_id
    assert run.data.metrics["quantized_speed_ratio_batch_16"] == 18.0
    assert version.tags["quantized_auc_difference"] == f"{difference:.4f}"
    assert list(client.get_registered_model("poster-cnn").aliases) == ["quantized"]
    served = load_poster_model("models:/poster-cnn@quantized")
    example = served.input_example
    assert served.predict(example, params={"evidence": True})["similar_count"].tolist() == [30]
    assert list(served.predict(example)["error"]) == [None]
    assert isinstance(served.unwrap_python_model().network, QuantizedNetwork)
    probability = served.predict(example.set_axis([5]))["probability_fresh"][5]
    assert 0 < probability < 1
    assert probability != load_poster_model(source.uri).predict(example)["probability_fresh"][0]
    with pytest.raises(mlflow.MlflowException, match="a quantized model draws no maps"):
        served.predict(example, params={"explain": True})
    for call in (load_keras_model, run_quantize):
        said = refusal(RegistryError, call, "models:/poster-cnn@quantized")
        assert "is a quantized model, which only scores" in said
    requirements = (model_folder("models:/poster-cnn@quantized") / "requirements.txt").read_text()
    assert "keras" not in requirements
    assert all("version 1" in line or "ROC AUC" in line for line in result.text().splitlines())


@pytest.mark.parametrize(("ratio", "change"), [(1.9, 0.05), (3.0, 0.0)])
def test_what_does_not_hold_is_refused_with_the_figures(source, monkeypatch, ratio, change):
    monkeypatch.setattr(module, "MOST_AUC_CHANGE", change)
    monkeypatch.setattr(module, "speed_ratio", lambda network, quantized, pixels: ratio)
    assert refusal(RegistryError, run_quantize, source.uri).startswith(
        f"no quantized version of {source.uri}: it needs 2 times the speed and an AUC within {change:g}; "
        f"measured: {ratio} times the speed at batch 1, {ratio} times the speed at batch 16; ROC AUC "
    )
    assert mlflow.MlflowClient().search_registered_models() == []


def test_the_ratio_is_that_of_two_times_taken_in_turns(monkeypatch):
    clock = iter(float(tick) for tick in range(10**6))
    calls = []

    def network(name, ticks):
        def run(pixels):
            calls.append(name)
            for _ in range(ticks):
                next(clock)

        return SimpleNamespace(predict_on_batch=run)

    monkeypatch.setattr(quantize.time, "perf_counter", lambda: next(clock))
    assert quantize.speed_ratio(network("slow", 7), network("fast", 1), np.zeros(1)) == 4.0
    assert calls[:4] == ["slow", "fast", "slow", "fast"]
