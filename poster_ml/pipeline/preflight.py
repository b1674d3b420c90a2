"""What can be refused before Keras is imported: help and refused input answer in about a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from poster_ml.config import ExperimentConfig, experiment_path, load_experiment
from poster_ml.errors import ConfigError, WeightsError


def check_training(
    model: str,
    data: Path | None,
    experiment: Path | None = None,
    overrides: Sequence[str] = (),
    protocol: str = "",
) -> ExperimentConfig:
    """Reads the configuration and looks whether what it names is there.

    Args:
        model, data, experiment, overrides, protocol: as for `pipeline.task.resolve_task`.

    Returns: the configuration, before any change of the demo profile.

    Raises: ConfigError, DatasetError, WeightsError.
    """
    if not model and experiment is None:
        raise ConfigError(["no model was named: give --model NAME or --experiment FILE"])
    path = experiment or experiment_path(model, protocol or "sound")
    config = load_experiment(path, tuple(overrides))
    if model and config.variant != model:
        raise ConfigError(
            [f"{path} describes {config.variant!r}, but --model says {model!r}: give one of them"]
        )
    if protocol and config.protocol != protocol:
        raise ConfigError(
            [
                f"{path} has the protocol {config.protocol!r}, but --protocol says {protocol!r}: give one of "
                "them"
            ]
        )
    if data is not None:
        from poster_ml.data.reading import PreparedDataset

        PreparedDataset.open(data)
    weights = config.model.weights
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise WeightsError(f"no weights file {weights}: give 'imagenet', 'none' or an existing file")
    return config
