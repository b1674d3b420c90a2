"""A configuration whose training takes seconds: two small convolutions, few epochs, nothing explained."""

from poster_ml.config import ExperimentConfig, replace

_TINY = {
    "model.weights": "none",
    "model.preprocessing": "unit",
    "model.filters": [4, 8],
    "model.dense": [16],
    "train.epochs": 2,
    "train.batch_size": 16,
    "train.optimizer": "adam",
    "evaluate.bootstrap": 100,
    "explain.faithfulness_posters": 0,
    "explain.shortcut_posters": 0,
}


def tiny_config(**changes) -> ExperimentConfig:
    """Returns the configuration with changes, by dotted keys."""
    return replace(ExperimentConfig(), **_TINY | changes)
