"""A network trained with and without the feature cache, with views, in two precisions."""

import keras
import numpy as np
import pytest

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import DatasetError
from poster_ml.pipeline import features
from poster_ml.pipeline.fit import build_network, fit_model, fit_network, identity
from poster_ml.training.batches import Samples, predict_logits
from poster_ml.training.features import list_entries

VGG = {
    "model.family": "vgg16",
    "model.output_layer": "block3_pool",
    "model.weights": "none",
    "model.pooling": "average",
    "model.dense": [8],
    "train.epochs": 2,
    "train.batch_size": 32,
    "train.optimizer": "adam",
    "train.precision": "float32",
    "train.deterministic": True,
    "max_samples": 60,
}


def vgg(**changes):
    return replace(ExperimentConfig(), **{**VGG, **changes})


@pytest.fixture
def dataset(tiny_dataset):
    return PreparedDataset.open(tiny_dataset)


def losses(candidate):
    return [epoch["val_loss"] for epoch in candidate.fitted.fit.history]


def run(config, dataset, tmp_path, name):
    return fit_model(config, dataset, folder=tmp_path / name, cache_folder=tmp_path / "cache")


def test_cached_features_give_the_numbers_of_the_whole_network(dataset, tmp_path):
    cached = run(vgg(), dataset, tmp_path, "cached")
    assert [entry.about["shape"][1:] for entry in list_entries(tmp_path / "cache")] == [[256], [256]]
    plain = run(vgg(**{"train.feature_cache": False}), dataset, tmp_path, "plain")
    np.testing.assert_allclose(losses(cached), losses(plain), rtol=2e-4)
    np.testing.assert_allclose(cached.validation_logits, plain.validation_logits, rtol=2e-3, atol=1e-4)


def test_one_entry_of_all_posters_is_opened_once_and_answers_for_the_network(dataset, tmp_path, monkeypatch):
    opened, real = [], features.cached_features
    monkeypatch.setattr(features, "cached_features", lambda *a, **k: opened.append(a) or real(*a, **k))
    config = vgg(max_samples=0)
    fitted = fit_network(config, dataset, folder=tmp_path / "run", cache_folder=tmp_path / "cache")
    rows = dataset.indices("test")
    posters = Samples(dataset.images, rows, dataset.labels(rows))
    expected = predict_logits(fitted.model, posters)
    np.testing.assert_allclose(fitted.score(posters), expected, rtol=2e-3, atol=1e-4)
    assert len(opened) == 1
    (entry,) = list_entries(tmp_path / "cache")
    assert entry.about["shape"][0] == len(dataset.index)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_one_class_is_refused_before_training(dataset, tmp_path, split):
    index = dataset.index.copy()
    index.loc[index["split"] == split, "label"] = 1
    one_class = PreparedDataset(dataset.folder, dataset.images, index, dataset.manifest)
    with pytest.raises(DatasetError, match=rf"got \d+ Fresh and 0 Rotten in {split}: raise --limit, or prep"):
        run(vgg(), one_class, tmp_path, "one")
    assert not (tmp_path / "one").exists(), "nothing was trained"


def test_with_augmentation_only_scoring_uses_the_cache_and_the_block_that_is_trained_stays_out(
    dataset, tmp_path
):
    config = vgg(**{"augment.rotation": 5, "model.unfreeze": ["block3"], "train.epochs": 1})
    candidate = run(config, dataset, tmp_path, "augmented")
    (entry,) = list_entries(tmp_path / "cache")
    assert entry.about["shape"] == [len(candidate.validation_logits), 10, 10, 128]
    before = build_network(config, dataset.size, "none")
    changed = {
        layer.name: bool(
            np.abs(layer.get_weights()[0] - before.get_layer(layer.name).get_weights()[0]).max() > 0
        )
        for layer in candidate.model.layers
        if layer.get_weights() and "conv" in layer.name
    }
    assert [name for name, moved in changed.items() if moved] == [
        f"block3_conv{number}" for number in (1, 2, 3)
    ]


def test_views_are_augmented_once_and_kept(dataset, tmp_path):
    config = vgg(**{"augment.rotation": 20, "train.augmented_views": 3, "train.epochs": 1})
    run(config, dataset, tmp_path, "views")
    shapes = sorted(entry.about["shape"] for entry in list_entries(tmp_path / "cache"))
    count = len(dataset.indices("train", 60, 42))
    assert shapes[-1] == [3 * count, 256]
    views = [np.load(path) for path in (tmp_path / "cache").glob("*/features.npy")]
    several = max(views, key=len)
    assert np.abs(several[:count] - several[count : 2 * count]).max() > 1e-4


def test_the_trained_network_is_whole_and_in_float32_whatever_it_was_trained_in(dataset, tmp_path):
    candidate = run(
        vgg(**{"train.precision": "mixed_bfloat16", "train.epochs": 1}), dataset, tmp_path, "bf16"
    )
    assert candidate.fitted.precision == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in candidate.model.layers} <= {"float32", "uint8"}
    assert candidate.model.input_shape == (None, 40, 40, 3)
    rows = dataset.indices("val", 60, 42)
    logits = candidate.model.predict_on_batch(np.asarray(dataset.images[rows]))[:, 0]
    np.testing.assert_allclose(logits, candidate.validation_logits, atol=1e-5)


def test_a_multi_level_head_has_the_statistics_of_its_training_posters_and_is_penalised(dataset, tmp_path):
    head = {"model.dense": [], "model.feature_layers": ["block2_pool"], "model.standardize": True}
    head |= {"train.epochs": 6, "train.learning_rate": 0.01, "train.keep_best": False}
    penalised, free = (
        run(vgg(**head, **{"model.l2": strength}), dataset, tmp_path, f"l2 {strength}")
        for strength in (5.0, 0.0)
    )
    joined = keras.Model(penalised.model.input, penalised.model.get_layer("joined_features").output)
    posters = np.asarray(dataset.images[dataset.indices("train", 60, 42)])
    features = np.asarray(joined.predict_on_batch(posters))
    found = keras.ops.convert_to_numpy(penalised.model.get_layer("standardize").mean)
    np.testing.assert_allclose(found, features.mean(axis=0), rtol=1e-3, atol=1e-4)
    # The penalty is part of the training loss, and pulls the weights towards zero.
    sizes = [np.square(one.model.get_layer("logit").get_weights()[0]).sum() for one in (penalised, free)]
    assert sizes[0] < 0.9 * sizes[1]
    assert penalised.fitted.fit.history[0]["loss"] > free.fitted.fit.history[0]["loss"]


def test_identity_knows_what_weights_depend_on(dataset):
    base = identity(vgg(), dataset)
    assert identity(vgg(**{"train.epochs": 9}), dataset) == base
    assert identity(vgg(**{"evaluate.bootstrap": 200, "explain.method": "cam"}), dataset) == base
    assert identity(vgg(seed=1), dataset) != base
    assert identity(vgg(**{"train.learning_rate": 0.5}), dataset) != base
    cosine = vgg(**{"train.schedule": "cosine"})
    assert identity(cosine, dataset) != identity(replace(cosine, **{"train.epochs": 9}), dataset)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("keras.backend.backend", "another"),
        ("poster_ml.pipeline.fit.resolve_precision", "mixed_float16"),
        ("poster_ml.pipeline.fit.code_digest", "changed"),
    ],
    ids=["backend", "precision", "code"],
)
def test_runs_of_another_backend_precision_or_code_are_other_runs(dataset, monkeypatch, place, value):
    config = vgg(**{"train.precision": "auto"})
    before = identity(config, dataset)
    assert identity(config, dataset) == before
    monkeypatch.setattr(place, lambda *_, **__: value)
    assert identity(config, dataset) != before


def test_the_precision_that_a_machine_chooses_is_the_same_run_as_that_precision_named(dataset, monkeypatch):
    monkeypatch.setattr("poster_ml.training.precision.has_fast_bfloat16", lambda: False)
    assert identity(vgg(**{"train.precision": "auto"}), dataset) == identity(vgg(), dataset)
