"""From a configuration and a prepared dataset to a trained network: used by train, suite and tune alike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from poster_ml.augment.build import build_augmentation
from poster_ml.config import ExperimentConfig, to_mapping
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ClusterError, DatasetError
from poster_ml.explain.graph import find_layer
from poster_ml.models.build import Architecture, build_model
from poster_ml.models.catalogue import find_family
from poster_ml.pipeline.features import FitInputs, precompute_frozen_features
from poster_ml.training.batches import Samples, predict_logits
from poster_ml.training.code_version import code_digest
from poster_ml.training.devices import of_all_processes, shared_batches
from poster_ml.training.fit import FitResult, OnEpoch, fit
from poster_ml.training.precision import precision_scope, resolve_precision
from poster_ml.training.statistics import set_statistics

# What the weights depend on; data is not in it, since the dataset's fingerprint says which pixels came out.
CODE = ("models", "augment", "training", "seeding.py", "pipeline/fit.py", "pipeline/features.py")


@dataclass(frozen=True)
class FittedNetwork:
    """A network as it was fitted, with the kept epoch's weights.

    Args:
        model: the whole network in the precision of the training, from uint8 posters to one logit.
        fit: history, kept epoch, epochs taken from a checkpoint.
        precision: the dtype policy it was trained under.
        validation: the posters that selected the epoch.
        inputs: what it was fitted on.
    """

    model: Any
    fit: FitResult
    precision: str
    validation: Samples
    inputs: FitInputs

    def score(self, posters: Samples) -> np.ndarray:
        """Returns the logits (n,) float64 of posters; the cache answers for the frozen layers."""
        represented = self.inputs.represent(posters)
        if represented is None:  # no room for more features
            return predict_logits(self.model, posters)
        return predict_logits(self.inputs.scorer, represented)


@dataclass(frozen=True)
class TrainedModel:
    """A trained network as it is explained and served.

    Args:
        model: the whole network in float32, from uint8 posters to one logit, with the kept epoch's weights.
        fitted: how it was made, in the precision of the training.
        validation_logits: (n,) float64, computed by `model`.
    """

    model: Any
    fitted: FittedNetwork
    validation_logits: np.ndarray


def fit_model(
    config: ExperimentConfig,
    dataset: PreparedDataset,
    *,
    folder: Path,
    cache_folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Builds, trains and scores one network as it is served; a trial of a search stops at `fit_network`.

    Args, Raises: as of `fit_network`.

    Returns: the network in float32, as it is explained and served, and its history.
    """
    fitted = fit_network(config, dataset, folder=folder, cache_folder=cache_folder, on_epoch=on_epoch)
    model = as_float32(fitted.model, config, dataset.size)
    # In float32 the cached features are those of this very network.
    same = fitted.precision == "float32"
    logits = fitted.score(fitted.validation) if same else predict_logits(model, fitted.validation)
    return TrainedModel(model, fitted, logits)


def fit_network(
    config: ExperimentConfig,
    dataset: PreparedDataset,
    *,
    folder: Path,
    cache_folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> FittedNetwork:
    """Builds and trains one network.

    Args:
        config: the experiment.
        dataset: posters with splits; `train` is learned from, `val` selects the epoch.
        folder: for checkpoints; training continues from what it holds for the same configuration.
        cache_folder: of frozen features; default: `feature_cache_folder()`.
        on_epoch: called after every new epoch with its number (from 1) and its metrics.

    Raises: WeightsError, UnknownLayerError, DatasetError, TrackingError, ConfigError; ClusterError
        where several processes do not agree; `StopTraining` when `on_epoch` asks.
    """
    if config.train.deterministic:
        _be_deterministic()
    keras.utils.set_random_seed(config.seed)
    train, validation = (_samples(dataset, split, config) for split in ("train", "val"))
    precision = _precision(config)
    with shared_batches(config.train.batch_size):
        _check_agreement(identity(config, dataset))
        with precision_scope(precision):
            network = build_network(config, dataset.size, weights=config.model.weights)
        if config.explain.layer:
            find_layer(network, config.explain.layer)  # refuses now what would fail after hours
        about = {"dataset": dataset.fingerprint, "precision": precision, "size": dataset.size}
        inputs = precompute_frozen_features(
            network, train, validation, config, about=about, cache=cache_folder
        )
        set_statistics(network, inputs.train, inputs.cut)
        fitted = fit(
            inputs.model,
            inputs.train,
            inputs.validation,
            config.train,
            seed=config.seed,
            folder=folder,
            identity=identity(config, dataset),
            scorer=inputs.scorer,
            on_epoch=on_epoch,
        )
    return FittedNetwork(network, fitted, precision, validation, inputs)


def build_network(config: ExperimentConfig, size: int, weights: str) -> Any:
    """Builds the network of a configuration for square posters of `size` pixels."""
    options = asdict(config.model)
    del options["weights"]
    unfreeze, batch_norm = options.pop("unfreeze"), options.pop("batch_norm")
    return build_model(
        Architecture(input_shape=(size, size, 3), **options),
        augmentation=build_augmentation(**asdict(config.augment), seed=config.seed),
        weights=weights,
        unfreeze=unfreeze,
        batch_norm=batch_norm,
        seed=config.seed,
    )


def as_float32(network: Any, config: ExperimentConfig, size: int) -> Any:
    """Returns the same network in float32: exact to explain, and fast on every machine that serves it."""
    with precision_scope("float32"):
        twin = build_network(config, size, weights="none")
    twin.set_weights(network.get_weights())
    return twin


def identity(config: ExperimentConfig, dataset: PreparedDataset) -> str:
    """Digest of all that the weights depend on: configuration, posters, backend, precision, code.

    The number of epochs is left out where it changes nothing but the end, so a run can be made
    longer. Of the precision counts what it is on this machine, not that it was left to it ("auto").
    """
    mapping = to_mapping(config)
    mapping["train"]["precision"] = _precision(config)
    if config.train.schedule != "cosine":
        del mapping["train"]["epochs"]
    del mapping["evaluate"], mapping["explain"]
    made_by = {"backend": keras.backend.backend(), "code": code_digest(*CODE)}
    posters = [dataset.fingerprint, dataset.fold] if dataset.fold else dataset.fingerprint
    text = json.dumps([mapping, posters, made_by], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _check_agreement(digest: str) -> None:
    """Refuses several processes that would train different things."""
    given = of_all_processes(np.frombuffer(bytes.fromhex(digest), np.uint32))
    if (given != given[0]).any():
        raise ClusterError(
            "the processes differ in configuration, dataset, precision or version of the code: give all of "
            "them the same command"
        )


def _precision(config: ExperimentConfig) -> str:
    return resolve_precision(config.train.precision, depthwise=find_family(config.model.family).depthwise)


def _samples(dataset: PreparedDataset, split: str, config: ExperimentConfig) -> Samples:
    """Draws a split's posters. Raises: DatasetError unless both classes are there, which metrics need."""
    rows = dataset.indices(split, config.max_samples, config.seed)
    labels = dataset.labels(rows)
    fresh = int(labels.sum())
    if not 0 < fresh < len(labels):
        raise DatasetError(
            f"training needs Fresh and Rotten posters in every split, got {fresh} Fresh and "
            f"{len(labels) - fresh} Rotten in {split}: raise --limit, or prepare the dataset again with "
            "more posters or `--split stratified`"
        )
    return Samples(dataset.images, rows, labels)


def _be_deterministic() -> None:
    """Same seed, same numbers: slower kernels without races on TensorFlow and PyTorch; JAX is so already."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)
