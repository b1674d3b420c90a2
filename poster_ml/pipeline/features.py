"""The frozen lower part of a network, run once: what is fitted is the part above it, on the kept output."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from poster_ml.augment.base import RandomPosterLayer
from poster_ml.config import ExperimentConfig, to_mapping
from poster_ml.errors import ConfigError, OutputError
from poster_ml.models.freezing import frozen_cut, split_at
from poster_ml.training.batches import Samples, predict_padded
from poster_ml.training.devices import process_share
from poster_ml.training.features import Augment, cached_features
from poster_ml.training.fit import reset_draws

WORKPLACE = Path(".poster-ml")  # caches and checkpoints, in the current folder


@dataclass(frozen=True)
class FitInputs:
    """What is fitted on what, and what selects the epoch.

    Args:
        model: the network, or its part above the frozen layers; it shares the layers of the network.
        train: what `model` learns from: posters, or their features.
        scorer: the network, or its part above the frozen layers.
        validation: what `scorer` scores after every epoch.
        cut: the layer whose output `train` holds; empty where it holds posters.
        represent: turns posters into what `scorer` takes: their features, out of the cache as far as it holds
            them; None where the disk is too small for them.
    """

    model: Any
    train: Samples
    scorer: Any
    validation: Samples
    cut: str = ""
    represent: Callable[[Samples], Samples | None] = field(default=lambda posters: posters)


def precompute_frozen_features(
    network: Any,
    train: Samples,
    validation: Samples,
    config: ExperimentConfig,
    *,
    about: dict[str, Any],
    cache: Path | None = None,
) -> FitInputs:
    """Replaces the frozen lower part of a network by its output, computed once.

    Training keeps the whole network where posters are augmented anew in every epoch; scoring never needs to.

    Args:
        network: the whole network, from uint8 posters to one logit.
        train, validation: posters (n, H, W, 3) uint8 to learn from, and to select the epoch by.
        config: its train and augment sections and its seed are used.
        about: what the features depend on besides network and posters: the dataset's fingerprint, precision.
        cache: folder of the features; default: `feature_cache_folder()`.

    Returns: the network on the posters where nothing is frozen, `train.feature_cache` is off or the disk is
        too small for the features.
    Raises: ConfigError where several processes would keep them.
    """
    whole = FitInputs(network, train, network, validation)
    cut = frozen_cut(network) if config.train.feature_cache else None
    if cut is None:
        return whole
    if process_share()[1] > 1:  # each would draw other views, and wait for the other's
        raise ConfigError(["features are not kept by several processes: add --set train.feature_cache=false"])
    prefix, suffix = split_at(network, cut)
    features = partial(cached_features, prefix, folder=cache or feature_cache_folder())

    represent = _represented(
        partial(features, about=about), train.images, whole_dataset=not config.max_samples
    )
    scored = represent(validation)
    if scored is None:
        return whole
    views, learned = config.train.augmented_views, None
    if not config.augment.active:
        learned = represent(train)
    elif views:
        about = {**about, "augment": to_mapping(config)["augment"], "seed": config.seed}
        kept = features(train, about=about, augment=_augmenter(network, config.seed), views=views)
        if kept is not None:
            learned = Samples(kept, np.arange(len(train)), train.labels, views, len(train))
    if learned is None:
        return FitInputs(network, train, suffix, scored, represent=represent)
    return FitInputs(suffix, learned, suffix, scored, cut, represent)


def _represented(
    features: Callable[[Samples], np.ndarray | None], images: np.ndarray, *, whole_dataset: bool
) -> Callable[[Samples], Samples | None]:
    """Returns `FitInputs.represent`.

    Args:
        features: computes or reads those of posters; None where the disk is too small.
        images: of the dataset.
        whole_dataset: keep one entry for all of it, which splits, folds and seeds share.
    """

    @lru_cache(maxsize=1)  # opened once: its checksum takes reading it whole
    def of_all() -> np.ndarray | None:
        every = np.arange(len(images))
        return features(Samples(images, every, np.zeros_like(every)))

    def represent(posters: Samples) -> Samples | None:
        found = of_all() if whole_dataset else features(posters)
        rows = posters.rows if whole_dataset else np.arange(len(posters))
        return None if found is None else Samples(found, rows, posters.labels)

    return represent


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


def _augmenter(network: Any, seed: int) -> Augment:
    """Makes augmented posters outside the network, draws depending on (seed, position) alone."""
    changer = _Augmenter(network)

    def augment(batch: np.ndarray, position: int) -> np.ndarray:
        reset_draws(changer, seed, position)
        return predict_padded(changer, batch, len(batch))

    return augment
