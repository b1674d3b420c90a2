"""What can be refused before Keras is imported: help and refused input answer in about a second."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from poster_ml.config import ExperimentConfig, experiment_path, load_experiment
from poster_ml.errors import ClusterError, ConfigError, WeightsError

if TYPE_CHECKING:
    from poster_ml.data.reading import PreparedDataset


def check_training(
    model: str,
    experiment: Path | None = None,
    overrides: Sequence[str] = (),
    protocol: str = "",
) -> ExperimentConfig:
    """Reads the configuration of a training and looks whether the weights that it names are there.

    Args:
        model: a variant; may be empty where `experiment` is given.
        experiment: a YAML file instead of the variant's own.
        overrides: "key=value" each.
        protocol: which of the variant's two files, `sound` (also where empty) or `study`.

    Returns: the configuration, before any change of the demo profile.

    Raises: ConfigError, WeightsError.
    """
    if not model and experiment is None:
        raise ConfigError(["no model was named: give --model NAME or --experiment FILE"])
    path = experiment or experiment_path(model, protocol or "sound")
    config = load_experiment(path, tuple(overrides))
    for said, own, is_of, option in (
        (model, config.variant, "describes", "model"),
        (protocol, config.protocol, "has the protocol", "protocol"),
    ):
        if said and said != own:
            raise ConfigError([f"{path} {is_of} {own!r}, but --{option} says {said!r}: give one of them"])
    weights = config.model.weights
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise WeightsError(f"no weights file {weights}: give 'imagenet', 'none' or an existing file")
    return config


def is_one_of_several(data: Path | None, resume: str) -> bool:
    """Whether Keras' variables name other processes that train along.

    Args:
        data: the dataset that was named.
        resume: the run that is to be continued.

    Raises: ClusterError where several processes cannot do that.
    """
    count = os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "1")
    if not count.isdecimal():
        raise ClusterError(f"KERAS_DISTRIBUTION_NUM_PROCESSES is a number, received {count!r}")
    if int(count) <= 1:
        return False
    if resume:
        raise ClusterError(
            "several processes cannot resume a run: unset KERAS_DISTRIBUTION_NUM_PROCESSES and continue with "
            "one, or start a new run"
        )
    if data is None:
        raise ClusterError("several processes need one dataset: name it with --data")
    return True


def open_named(data: Path | None, fold: str = "") -> PreparedDataset | None:
    """Opens the dataset that was named; None where none was.

    Raises: DatasetError, also where `fold`, if it is given, is none.
    """
    if fold:
        from poster_ml.data.folds import parse_fold

        parse_fold(fold)
    if data is None:
        return None
    from poster_ml.data.reading import PreparedDataset  # tables take a second to import

    return PreparedDataset.open(data)
