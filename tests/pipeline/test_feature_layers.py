"""Multi-level, standardised, penalised heads: from a configuration to a trained model."""

import keras
import numpy as np

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.pipeline.fit import fit_model

TAPPED = {
    "model.family": "mobilenet_v2",
    "model.weights": "none",
    "model.pooling": "average",
    "model.dense": [],
    "model.feature_layers": ["block_6_project_BN"],
    "model.standardize": True,
    "model.l2": 5.0,
    "train.epochs": 6,
    "train.learning_rate": 0.01,
    "train.keep_best": False,
    "train.precision": "float32",
    "train.optimizer": "adam",
    "max_samples": 60,
}


def test_the_candidate_carries_the_statistics_of_its_training_posters(tiny_dataset, tmp_path):
    dataset = PreparedDataset.open(tiny_dataset)
    config = replace(ExperimentConfig(), **TAPPED)
    candidate = fit_model(config, dataset, folder=tmp_path / "run", cache_folder=tmp_path / "cache")
    joined = keras.Model(candidate.model.input, candidate.model.get_layer("joined_features").output)
    posters = np.asarray(dataset.images[dataset.indices("train", config.max_samples, config.seed)])
    features = np.asarray(joined.predict_on_batch(posters))
    layer = candidate.model.get_layer("standardize")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer.mean), features.mean(axis=0), rtol=1e-3, atol=1e-4
    )
    # The penalty is part of the training loss, and pulls the weights towards zero.
    loose = replace(config, **{"model.l2": 0.0})
    free = fit_model(loose, dataset, folder=tmp_path / "free", cache_folder=tmp_path / "cache")
    sizes = [
        float(np.square(keras.ops.convert_to_numpy(one.model.get_layer("logit").kernel)).sum())
        for one in (candidate, free)
    ]
    assert sizes[0] < 0.9 * sizes[1]
    assert candidate.fitted.fit.history[0]["loss"] > free.fitted.fit.history[0]["loss"]
