"""The frozen lower part of a network, run once: what is fitted is the part above it, on the kept output."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from poster_ml.augment.base import RandomPosterLayer
from poster_ml.config import ExperimentConfig, to_mapping
from poster_ml.errors import OutputError
from poster_ml.models.surgery import frozen_cut, split_at
from poster_ml.training.batches import Samples, predict_padded
from poster_ml.training.features import cached_features, missing_bytes
from poster_ml.training.fit import reset_draws

logger = logging.getLogger(__name__)

WORKPLACE = Path(".poster-ml")  # caches and checkpoints, in the current folder


@dataclass(frozen=True)
class UntrainedNetwork:
    """A network that is to be trained, and the posters of its training.

    Args:
        network: the whole network, from uint8 posters to one logit, in the precision of training.
        precision: the dtype policy it is trained under.
        train: the posters (n, H, W, 3) uint8 that it learns from.
        validation: the posters that select the epoch.
        fingerprint: of the dataset.
    """

    network: Any
    precision: str
    train: Samples
    validation: Samples
    fingerprint: str


@dataclass(frozen=True)
class FitInputs:
    """What is fitted on what, and what selects the epoch.

    Args:
        model: the network, or its part above the frozen layers; it shares the layers of the network.
        train: what `model` learns from: posters, or their features.
        scorer: the network, or its part above the frozen layers.
        validation: what `scorer` scores after every epoch.
    """

    model: Any
    train: Samples
    scorer: Any
    validation: Samples


def precompute_frozen_features(
    untrained: UntrainedNetwork, config: ExperimentConfig, cache: Path | None = None
) -> FitInputs:
    """Replaces the frozen lower part of a network by its output, computed once.

    Training keeps the whole network where posters are augmented anew in every epoch; scoring never needs to.

    Args:
        untrained: the whole network and its posters.
        config: its train and augment sections and its seed are used.
        cache: folder of the features; default: `feature_cache_folder()`.

    Returns: the network on the posters where nothing is frozen, `train.feature_cache` is off or the disk is
        too small for the features.
    """
    network, train, validation = untrained.network, untrained.train, untrained.validation
    whole = FitInputs(network, train, network, validation)
    cut = frozen_cut(network) if config.train.feature_cache else None
    if cut is None:
        return whole
    cache = cache or feature_cache_folder()
    prefix, suffix = split_at(network, cut)
    metadata = {
        "dataset": untrained.fingerprint,
        "precision": untrained.precision,
        "size": int(train.images.shape[1]),
    }
    as_they_are: dict[str, Any] = {"about": metadata, "folder": cache}
    views, active = config.train.augmented_views, config.augment.active
    augmented: dict[str, Any] = {
        "about": {**metadata, "augment": to_mapping(config)["augment"], "seed": config.seed},
        "folder": cache,
        "views": views,
    }
    needed = missing_bytes(prefix, validation, **as_they_are)
    if not active:
        needed += missing_bytes(prefix, train, **as_they_are)
    elif views:
        needed += missing_bytes(prefix, train, augmented=True, **augmented)
    if not _fits(needed, cache):
        return whole
    scored = cached_features(prefix, validation, **as_they_are)
    validation = Samples(scored, np.arange(len(validation)), validation.labels)
    rows = np.arange(len(train))
    if not active:
        learned = cached_features(prefix, train, **as_they_are)
        return FitInputs(suffix, Samples(learned, rows, train.labels), suffix, validation)
    if views == 0:
        return FitInputs(network, train, suffix, validation)
    learned = cached_features(prefix, train, augment=_augmenter(network, config.seed), **augmented)
    return FitInputs(suffix, Samples(learned, rows, train.labels, views, len(train)), suffix, validation)


def feature_cache_folder() -> Path:
    """Where frozen features are kept: POSTER_ML_CACHE, or `.poster-ml/features` in the current folder.

    Raises: OutputError where that is a file.
    """
    folder = Path(os.environ.get("POSTER_ML_CACHE", "").strip() or WORKPLACE / "features")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"POSTER_ML_CACHE {folder} is a file: give a folder")
    return folder


class _Augmenter(keras.Model):
    """The augmentation layers of a network, acting also outside training."""

    def __init__(self, network: Any) -> None:
        super().__init__(name="augmenter")  # TensorFlow takes no name that begins with an underscore
        self.steps = [layer for layer in network.layers if isinstance(layer, RandomPosterLayer)]

    def call(self, posters: Any) -> Any:
        """Returns changed posters, (B, H, W, 3) uint8 like those that came."""
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
