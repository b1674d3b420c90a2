"""What is trained on what: a dataset that was named, `data/prepared`, or the demo; in which run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.folds import open_fold
from poster_ml.data.image_files import match_images
from poster_ml.data.prepared import PreparedDataset, prepare
from poster_ml.data.tables import read_table
from poster_ml.errors import TrackingError, WeightsError
from poster_ml.models.catalogue import FAMILIES, Family
from poster_ml.models.weights import build_weighted_backbone
from poster_ml.pipeline.dataset_run import find_dataset_run
from poster_ml.pipeline.features import WORKPLACE
from poster_ml.pipeline.records import recorded_config, recorded_dataset
from poster_ml.synthetic.writing import write_posters
from poster_ml.tracking.runs import find_run

logger = logging.getLogger(__name__)

DEFAULT_DATA = Path("data/prepared")
DEMO_SIZE = 80  # pixels; InceptionV3 and InceptionResNetV2 need 75
DEMO_POSTERS = 1000
DEMO_ACCURACY = 0.9
DEMO_SEED = 42


@dataclass(frozen=True)
class Task:
    """What is trained on what, and in which run.

    Args:
        config: the experiment, resolved.
        dataset: opened once and verified.
        profile: `full` or `demo`.
        name: of a new run; empty: the variant.
        run_id: a run to continue.
        parent_run_id: the run it is shown under.
        tags: more of them than `run_tags` gives every run.
    """

    config: ExperimentConfig
    dataset: PreparedDataset
    profile: str
    name: str = ""
    run_id: str | None = None
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def resolve_task(
    config: ExperimentConfig, dataset: PreparedDataset, profile: str, overrides: Sequence[str] = ()
) -> Task:
    """Decides what is trained on what: adapts the experiment where the profile is the demo's.

    Args:
        config: as checked by `preflight.check_training`.
        dataset: as of `choose_dataset`.
        profile: as of `choose_dataset`.
        overrides: "key=value" each; in the demo profile they win over the demo's settings.
    """
    if profile == "demo":
        config = demo_config(config, {override.partition("=")[0].strip() for override in overrides})
    split = dataset.manifest["options"]["split"]
    if config.protocol == "study" and split != "study":
        logger.warning(
            f"the study protocol on a {split!r} split: for the study's own, prepare with --split study"
        )
    return Task(config, dataset, profile)


def choose_dataset(named: PreparedDataset | None, fold: str = "") -> tuple[PreparedDataset, str]:
    """Returns the dataset to train on, every byte of it verified, and the profile: `full` or `demo`.

    Args:
        named: by the user; None takes `data/prepared`, or the demo's dataset where that is missing,
            which is made where it is missing, too.
        fold: "K/N" replaces the dataset's splits by those of a fold, see `data.folds.open_fold`.

    Raises: DatasetError where the dataset was changed after it was written.
    """
    if named is None and (DEFAULT_DATA / "manifest.json").is_file():
        named = PreparedDataset.open(DEFAULT_DATA)
    if named is not None:
        named.verify()
        return open_fold(named, fold) if fold else named, "full"
    logger.warning(
        f"demo profile: no dataset was named and {DEFAULT_DATA} does not exist, so this runs on "
        f"{DEMO_POSTERS} synthetic posters of {DEMO_SIZE}x{DEMO_SIZE} pixels, for few epochs"
    )
    drawn = demo_dataset(WORKPLACE / "demo")
    return open_fold(drawn, fold) if fold else drawn, "demo"


def run_tags(task: Task) -> dict[str, str]:
    """Returns the tags that every run on a dataset carries, trained, searched or averaged."""
    config, dataset = task.config, task.dataset
    fold = {"fold": dataset.fold} if dataset.fold else {}
    return fold | {
        "variant": config.variant,
        "family": config.model.family,
        "protocol": config.protocol,
        "profile": task.profile,
        "dataset.fingerprint": dataset.fingerprint,
        "weights": config.model.weights,
        "backend": keras.backend.backend(),
        "precision": config.train.precision,
        "split": str(dataset.manifest["options"]["split"]),
        "preprocess_run_id": find_dataset_run(dataset.fingerprint),
        **task.tags,
    }


def recorded_task(run_id: str, model: str = "", protocol: str = "") -> Task:
    """Finds the configuration and data that a run was started with, to continue it in that run.

    Args:
        run_id: of a training run that is not finished.
        model, protocol: where given, they must be the run's own.

    Raises: TrackingError, DatasetError, ConfigError.
    """
    record = find_run(run_id)
    for option, wanted, tag in (("model", model, "variant"), ("protocol", protocol, "protocol")):
        own = record.tags.get(tag, "")
        if wanted and own and wanted != own:
            raise TrackingError(
                f"run {run_id} is a run of {own!r}, but --{option} says {wanted!r}: leave --{option} out "
                f"(with `mlflow run` give -P {option}={own}), or start a new run without --resume"
            )
    if record.status == "FINISHED":
        raise TrackingError(f"run {run_id} is finished: nothing to resume; start a new run with `train`")
    if "data" not in record.params:
        raise TrackingError(f"run {run_id} is not a training run: give the id of one that `train` started")
    config, dataset = recorded_config(record), recorded_dataset(record)
    dataset.verify()
    return Task(config, dataset, record.tags.get("profile", "full"), run_id=run_id)


def demo_dataset(folder: Path) -> PreparedDataset:
    """Makes the demo's synthetic posters and their prepared dataset, once; returns the dataset, verified."""
    prepared = folder / "prepared"
    if (prepared / "manifest.json").is_file():
        dataset = PreparedDataset.open(prepared)
        dataset.verify()
        return dataset
    synthetic = folder / "synthetic"
    logger.info(f"drawing {DEMO_POSTERS} synthetic posters")
    write_posters(synthetic, count=DEMO_POSTERS, seed=DEMO_SEED, bayes_accuracy=DEMO_ACCURACY)
    table = read_table(synthetic / "movies.csv")
    movies, unmatched = match_images(table.movies, synthetic / "posters")
    return prepare(
        movies, unmatched, prepared, size=DEMO_SIZE, fit="squash", split="grouped", seed=DEMO_SEED,
        source={"table": "synthetic", "bayes_accuracy": DEMO_ACCURACY},
    )  # fmt: skip


def demo_config(config: ExperimentConfig, explicit: set[str]) -> ExperimentConfig:
    """Adapts an experiment to the demo: few epochs, and random weights where ImageNet's can't be had.

    Args:
        config: as resolved from YAML and overrides.
        explicit: dotted keys that the user set, which stay as they are.
    """
    family = FAMILIES[config.model.family]
    settings: dict[str, Any] = {
        "train.epochs": 8,
        "evaluate.bootstrap": 500,
        "explain.faithfulness_posters": 4,  # 80 passes of the network each
        "explain.shortcut_posters": 48,
    }
    if family.has_backbone and config.model.weights == "imagenet" and not imagenet_available(family.name):
        logger.warning(
            f"no ImageNet weights for {family.name} here: its layers keep random weights, and a linear head "
            "learns from the averaged channels of all of its blocks"
        )
        settings |= _random_features(family)
    return replace(config, **{key: value for key, value in settings.items() if key not in explicit})


def _random_features(family: Family) -> dict[str, Any]:
    """Returns settings that learn within a minute on two cores without any pretrained weights.

    Random convolutions see edges, colours and their layout. They are passed through once, where training them
    costs three passes per epoch and poster: for VGG-16 at 80 pixels 859 s on two AVX2 cores.
    """
    *lower, _ = (layer for _, layer in family.blocks)
    return {
        "model.weights": "none",
        "model.unfreeze": "none",
        "model.feature_layers": tuple(lower),
        "model.pooling": "average",
        "model.standardize": True,
        "model.dense": (),
        "model.dropout": 0.0,
        "model.l2": 0.1,
        "augment.strength": 0.0,
        "train.epochs": 30,
        "train.optimizer": "adam",
        "train.learning_rate": 3e-3,
        "train.head_warmup_epochs": 0,
        "train.augmented_views": 0,
    }


def imagenet_available(family: str) -> bool:
    """Whether Keras has, or can download, the ImageNet weights of a family; a download is kept."""
    chosen = FAMILIES[family]
    try:
        build_weighted_backbone(chosen, (chosen.smallest_size, chosen.smallest_size, 3), "imagenet")
    except WeightsError:
        return False
    return True
