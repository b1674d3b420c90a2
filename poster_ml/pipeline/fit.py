"""From a configuration and a prepared dataset to a trained network: used by train, suite and tune alike."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from poster_ml.augment.base import RandomPosterLayer
from poster_ml.augment.build import build_augmentation
from poster_ml.config import ExperimentConfig, to_mapping
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import DatasetError, OutputError
from poster_ml.explain.graph import find_layer
from poster_ml.models.architecture import Architecture
from poster_ml.models.build import build_model
from poster_ml.models.catalogue import find_family
from poster_ml.models.surgery import frozen_cut, split_at
from poster_ml.training.batches import Samples, predict_logits, predict_padded
from poster_ml.training.code_version import code_digest
from poster_ml.training.devices import shared_batches
from poster_ml.training.features import cached_features, missing_bytes
from poster_ml.training.fit import FitResult, OnEpoch, fit, reset_draws
from poster_ml.training.precision import precision_scope, resolve_precision
from poster_ml.training.statistics import set_statistics

logger = logging.getLogger(__name__)

# What the weights depend on; data is not in it, since the dataset's fingerprint says which pixels came out.
CODE = ("models", "augment", "training", "seeding.py", "pipeline/fit.py")
WORKPLACE = Path(".poster-ml")  # caches and checkpoints, in the current folder


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and how it was made.

    Args:
        model: the whole network in float32, from uint8 posters to one logit, with the kept epoch's weights.
        fit: history, kept epoch, epochs taken from a checkpoint.
        precision: the dtype policy it was trained under.
        validation_indices: (n,) positions in the dataset.
        validation_logits: (n,) float64, computed by `model`.
    """

    model: Any
    fit: FitResult
    precision: str
    validation_indices: np.ndarray
    validation_logits: np.ndarray


def fit_model(
    config: ExperimentConfig,
    dataset: PreparedDataset,
    *,
    folder: Path,
    cache_folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Builds, trains and scores one network.

    Args:
        config: the experiment.
        dataset: posters with splits; `train` is learned from, `val` selects the epoch.
        folder: for checkpoints; training continues from what it holds for the same configuration.
        cache_folder: of frozen features; default: `feature_cache_folder()`.
        on_epoch: called after every new epoch with its number (from 1) and its metrics.

    Returns: the network and its history.

    Raises: WeightsError, UnknownLayerError, DatasetError, TrackingError; `StopTraining` when `on_epoch` asks.
    """
    if config.train.deterministic:
        _be_deterministic()
    keras.utils.set_random_seed(config.seed)
    precision = _precision(config)
    samples = {split: _samples(dataset, split, config) for split in ("train", "val")}
    for split, drawn in samples.items():
        _check_both_classes(drawn.labels, split)  # refused now: metrics and threshold need both at the end
    if config.max_samples:
        counts = f"{len(samples['train'])} training and {len(samples['val'])} validation posters"
        logger.info(f"limit {config.max_samples} of {len(dataset.index)} posters: {counts}")
    about = {"dataset": dataset.fingerprint, "precision": precision, "size": dataset.size}
    with shared_batches(config.train.batch_size):
        with precision_scope(precision):
            network = build_network(config, dataset.size, weights=config.model.weights)
        if config.explain.layer:
            find_layer(network, config.explain.layer)  # refused now, not after hours
        model, train, scorer, validation = _precompute_frozen_features(
            network, samples["train"], samples["val"], config, about, cache_folder or feature_cache_folder()
        )
        set_statistics(model, train)
        result = fit(
            model,
            train,
            validation,
            config.train,
            seed=config.seed,
            folder=folder,
            identity=identity(config, dataset),
            scorer=scorer,
            on_epoch=on_epoch,
        )
    whole = as_float32(network, config, dataset.size)
    logits = predict_logits(whole, samples["val"])
    return TrainedModel(whole, result, precision, samples["val"].rows, logits)


def build_network(config: ExperimentConfig, size: int, weights: str) -> Any:
    """Builds the network of a configuration for square posters of `size` pixels."""
    model = config.model
    architecture = Architecture(
        family=model.family,
        input_shape=(size, size, 3),
        preprocessing=model.preprocessing,
        output_layer=model.output_layer,
        feature_layers=model.feature_layers,
        pooling=model.pooling,
        standardize=model.standardize,
        filters=model.filters,
        dense=model.dense,
        dropout=model.dropout,
        l2=model.l2,
    )
    return build_model(
        architecture,
        augmentation=build_augmentation(**to_mapping(config)["augment"], seed=config.seed),
        weights=weights,
        unfreeze=model.unfreeze,
        batch_norm=model.batch_norm,
        seed=config.seed,
    )


def as_float32(network: Any, config: ExperimentConfig, size: int) -> Any:
    """Returns the same network in float32: exact to explain, and fast on every machine that serves it."""
    with precision_scope("float32"):
        twin = build_network(config, size, weights="none")
    twin.set_weights(network.get_weights())
    return twin


def feature_cache_folder() -> Path:
    """Where frozen features are kept: POSTER_ML_CACHE, or `.poster-ml/features` in the current folder.

    Raises: OutputError where that is a file.
    """
    folder = Path(os.environ.get("POSTER_ML_CACHE", "").strip() or WORKPLACE / "features")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"POSTER_ML_CACHE {folder} is a file: give a folder")
    return folder


def identity(config: ExperimentConfig, dataset: PreparedDataset) -> str:
    """Digest of all that the weights depend on: configuration, posters, backend, precision, code.

    The number of epochs is left out where it changes nothing but the end, so a run can be made longer. Of the
    precision counts what it is on this machine, not that it was left to it ("auto").
    """
    mapping = to_mapping(config)
    mapping["train"]["precision"] = _precision(config)
    if config.train.schedule != "cosine":
        del mapping["train"]["epochs"]
    del mapping["evaluate"], mapping["explain"]
    made_by = {"backend": keras.backend.backend(), "code": code_digest(*CODE)}
    text = json.dumps([mapping, dataset.fingerprint, made_by], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _precision(config: ExperimentConfig) -> str:
    return resolve_precision(config.train.precision, depthwise=find_family(config.model.family).depthwise)


def _samples(dataset: PreparedDataset, split: str, config: ExperimentConfig) -> Samples:
    rows = dataset.indices(split, config.max_samples, config.seed)
    return Samples(dataset.images, rows, dataset.labels(rows))


def _check_both_classes(labels: np.ndarray, split: str) -> None:
    """Raises DatasetError unless the labels (N,) hold both Rotten (0) and Fresh (1)."""
    fresh = int(np.sum(labels))
    if not 0 < fresh < len(labels):
        raise DatasetError(
            f"training needs Fresh and Rotten posters in every split, got {fresh} Fresh and "
            f"{len(labels) - fresh} Rotten in {split}: raise --limit, or prepare the dataset again with "
            "more posters or `--split stratified`"
        )


def _precompute_frozen_features(
    network: Any,
    train: Samples,
    validation: Samples,
    config: ExperimentConfig,
    about: dict[str, Any],
    cache: Path,
) -> tuple[Any, Samples, Any, Samples]:
    """Replaces the frozen lower part of a network by its output, computed once.

    Returns: the model to train, its samples, the model that scores, and its samples. Training keeps the
    whole network where posters are augmented anew in every epoch; scoring never needs to.
    """
    cut = frozen_cut(network) if config.train.feature_cache else None
    if cut is None:
        return network, train, network, validation
    prefix, suffix = split_at(network, cut)
    as_they_are: dict[str, Any] = {"about": about, "folder": cache}
    views, active = config.train.augmented_views, config.augment.active
    augmented: dict[str, Any] = {
        "about": {**about, "augment": to_mapping(config)["augment"], "seed": config.seed},
        "folder": cache,
        "views": views,
    }
    needed = missing_bytes(prefix, validation, **as_they_are)
    if not active:
        needed += missing_bytes(prefix, train, **as_they_are)
    elif views:
        needed += missing_bytes(prefix, train, augmented=True, **augmented)
    if not _fits(needed, cache):
        return network, train, network, validation
    scored = cached_features(prefix, validation, **as_they_are)
    validation = Samples(scored, np.arange(len(validation)), validation.labels)
    rows = np.arange(len(train))
    if not active:
        learned = cached_features(prefix, train, **as_they_are)
        return suffix, Samples(learned, rows, train.labels), suffix, validation
    if views == 0:
        return network, train, suffix, validation
    learned = cached_features(prefix, train, augment=_augmenter(network, config.seed), **augmented)
    return suffix, Samples(learned, rows, train.labels, views, len(train)), suffix, validation


class _Augmenter(keras.Model):
    """The augmentation layers of a network, acting also outside training."""

    def __init__(self, network: Any) -> None:
        super().__init__(name="augmenter")  # TensorFlow takes no name that begins with an underscore
        self.steps = [layer for layer in network.layers if isinstance(layer, RandomPosterLayer)]

    def call(self, posters: Any) -> Any:
        """Returns changed posters, (B, H, W, 3) uint8 like those received."""
        for layer in self.steps:
            posters = layer(posters, training=True)
        return keras.ops.cast(keras.ops.clip(keras.ops.round(posters), 0, 255), "uint8")


def _augmenter(network: Any, seed: int) -> Any:
    """Makes augmented posters outside the network, draws depending on (seed, position) alone."""
    changer = _Augmenter(network)

    def augment(posters: np.ndarray, position: int) -> np.ndarray:
        reset_draws(changer, seed, position)
        return predict_padded(changer, posters, len(posters))

    return augment


def _fits(needed: int, cache: Path) -> bool:
    """Whether features that are still missing take less than half of the free disk."""
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if needed > free / 2:
        logger.warning(
            f"frozen features would take {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB free in {cache}: not "
            "kept, the frozen layers run in every epoch"
        )
        return False
    return True


def _be_deterministic() -> None:
    """Same seed, same numbers: slower kernels without races on TensorFlow and PyTorch; JAX is so already."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)
