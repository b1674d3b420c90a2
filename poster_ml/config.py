"""What can be configured: the schema of experiments, the only home of defaults.

An experiment is a YAML file under `experiments/` plus `--set key=value` overrides (a search space:
`search_space`). Everything that does not fit (an unknown key, a wrong type, a value out of range,
settings that contradict each other) is collected and reported in one error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from poster_ml.errors import ConfigError, nearest
from poster_ml.validation import (
    RULES,
    Number,
    Switch,
    Whole,
    adapter,
    assign,
    check,
    parse_value,
    read_yaml,
    valid,
)

REPOSITORY = Path(__file__).resolve().parent.parent

Family = Literal["cnn", "vgg16", "inception_v3", "inception_resnet_v2", "mobilenet_v2", "ensemble"]
AtLeast0 = Annotated[Whole, Field(ge=0)]
AtLeast1 = Annotated[Whole, Field(ge=1)]
Width = Annotated[Whole, Field(ge=1, le=65_536)]  # units or filters of a layer


@dataclass(frozen=True, config=RULES)
class ModelConfig:
    """The network.

    `unfreeze` says which part of the backbone is trained: "none", "all", a list of block or layer
    names (`[block4, block5]`), or a number of convolution layers counted from the top. Networks
    without a backbone (family `cnn`) are always trained whole.
    """

    family: Family = "cnn"  # an ensemble is made of trained runs by `poster-ml ensemble`
    weights: str = "imagenet"  # "imagenet", "none" or a file
    preprocessing: Literal["backbone", "unit"] = "backbone"  # unit: pixels / 255
    output_layer: str = ""  # take the backbone's output at this layer; empty: at its end
    feature_layers: tuple[str, ...] = ()  # lower layers whose averaged channels join the pooled output
    pooling: Literal["flatten", "average", "average_maximum"] = "flatten"
    standardize: Switch = False  # pooled features to mean 0, deviation 1, from the training posters
    filters: tuple[Width, ...] = (16, 64, 128)  # family cnn only
    dense: tuple[Width, ...] = (512,)
    dropout: Number = Field(default=0.0, ge=0.0, le=0.95)
    l2: Number = Field(default=0.0, ge=0.0, le=100.0)  # penalty on the head's squared weights, in the loss
    unfreeze: str | AtLeast0 | tuple[str, ...] = "none"
    batch_norm: Literal["inference", "train"] = "inference"

    @model_validator(mode="after")
    def _feature_layers_can_be_had(self) -> ModelConfig:
        layers = ", ".join(self.feature_layers)
        if self.feature_layers and self.family == "cnn":
            raise ValueError(
                f"family cnn has no backbone, received feature_layers: {layers}; leave them empty"
            )
        if self.feature_layers and self.pooling == "flatten":
            raise ValueError(
                f"feature_layers ({layers}) need pooling average or average_maximum, received {self.pooling}"
            )
        if len(set(self.feature_layers)) < len(self.feature_layers):
            raise ValueError(f"every layer can be named once, received feature_layers: {layers}")
        return self


@dataclass(frozen=True, config=RULES)
class AugmentConfig:
    """Random changes of the training posters; every range is multiplied by `strength`.

    Units as in Keras' ImageDataGenerator: rotation and shear in degrees, zoom and shift as fractions.
    """

    strength: Number = Field(default=1.0, ge=0.0, le=1.0)
    rotation: Number = Field(default=0.0, ge=0.0, le=180.0)
    zoom: Number = Field(default=0.0, ge=0.0, le=0.9)
    shift: Number = Field(default=0.0, ge=0.0, le=0.9)
    shear: Number = Field(default=0.0, ge=0.0, le=80.0)
    horizontal_flip: Switch = False
    fill: Literal["nearest", "reflect", "constant"] = "nearest"
    brightness: Number = Field(default=0.0, ge=0.0, le=1.0)
    contrast: Number = Field(default=0.0, ge=0.0, le=1.0)
    saturation: Number = Field(default=0.0, ge=0.0, le=1.0)
    erasing: Number = Field(default=0.0, ge=0.0, le=1.0)  # probability per poster

    @property
    def active(self) -> bool:
        """Whether any poster is changed at all."""
        ranges = {field.name for field in fields(self)} - {"strength", "fill"}
        return self.strength > 0 and any(getattr(self, name) for name in ranges)


@dataclass(frozen=True, config=RULES)
class TrainConfig:
    """How the network is fitted. `monitor` selects the epoch that is kept and stops the training."""

    epochs: Whole = Field(default=15, ge=1, le=10_000)
    batch_size: Whole = Field(default=32, ge=1, le=4096)
    optimizer: Literal["rmsprop", "adam", "adamw", "sgd"] = "rmsprop"
    learning_rate: Number = Field(default=1e-3, ge=1e-9, le=10.0)
    weight_decay: Number = Field(default=0.0, ge=0.0, le=1.0)
    schedule: Literal["constant", "plateau", "cosine"] = "constant"
    warmup_epochs: Whole = Field(default=0, ge=0, le=1000)  # cosine only: linear rise before the decay
    plateau_patience: Whole = Field(default=3, ge=1, le=1000)
    plateau_factor: Number = Field(default=0.1, ge=1e-3, le=0.99)
    monitor: Literal["val_auc", "val_loss", "val_accuracy", "accuracy", "loss", "auc"] = "val_auc"
    patience: Whole = Field(default=0, ge=0, le=1000)  # epochs without a rise before stopping; 0: never stop
    keep_best: Switch = True  # False keeps the last epoch
    label_smoothing: Number = Field(default=0.0, ge=0.0, le=0.9)
    class_weight: Literal["none", "balanced"] = "none"
    clip_norm: Number = Field(default=0.0, ge=0.0)  # 0: no clipping
    ema_momentum: Number = Field(default=0.0, ge=0.0, le=0.9999)  # 0: no averaging of weights
    head_warmup_epochs: Whole = Field(default=0, ge=0, le=1000)  # backbone frozen for the first epochs
    layer_rate_decay: Number = Field(default=1.0, ge=0.01, le=1.0)  # rate of each convolution below the next
    feature_cache: Switch = True  # run a frozen prefix once instead of every epoch
    augmented_views: Whole = Field(default=0, ge=0, le=64)  # cached views; 0: new ones every epoch
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    deterministic: Switch = False


@dataclass(frozen=True, config=RULES)
class EvaluateConfig:
    """How a model is evaluated."""

    bootstrap: Whole = Field(default=1000, ge=100, le=100_000)
    confidence: Number = Field(default=0.95, ge=0.5, le=0.999)
    threshold: Literal["half", "youden", "cost"] = "half"
    # Of threshold "cost": a Rotten one called Fresh, and a Fresh one called Rotten.
    cost_false_fresh: Number = Field(default=1.0, ge=1e-3, le=1e3)
    cost_false_rotten: Number = Field(default=1.0, ge=1e-3, le=1e3)
    calibrate: Switch = True  # temperature scaling fitted on validation
    appearance_posters: AtLeast0 = 2000  # what makes a poster look Fresh; 0: not asked


@dataclass(frozen=True, config=RULES)
class ExplainConfig:
    """How a model is explained."""

    method: Literal["auto", "cam", "gradcam", "hirescam"] = "auto"
    layer: str = ""  # empty: the last convolution
    faithfulness_posters: Whole = Field(default=32, ge=0, le=5000)  # 0: not measured
    shortcut_posters: AtLeast0 = 500  # in `evaluate`; few of them in training; 0: none
    detect_posters: AtLeast0 = 500  # searched for text and faces (extra `detect`); 0: none


@dataclass(frozen=True, config=RULES)
class ExperimentConfig:
    """One experiment: what `experiments/*.yaml` describes and a run logs as `experiment.yaml`."""

    variant: str = "basic_cnn"
    protocol: Literal["study", "sound"] = "sound"
    seed: Whole = Field(default=42, ge=0, le=2**31 - 2)
    max_samples: AtLeast0 = 0  # use only so many posters; 0: all
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    explain: ExplainConfig = ExplainConfig()


def load_experiment(path: Path, overrides: tuple[str, ...] = ()) -> ExperimentConfig:
    """Reads one experiment and applies overrides.

    Args:
        path: a YAML file as under `experiments/`.
        overrides: "section.key=value" each, for example "train.learning_rate=1e-4".

    Raises: ConfigError with every fault of the file and of the overrides at once.
    """
    return _overridden(read_yaml(path), overrides, str(path))


def experiment_path(model: str, protocol: str = "sound") -> Path:
    """Finds the YAML of a variant, looking in ./experiments first and then beside the package.

    Raises: ConfigError naming the variants that exist.
    """
    return find_yaml("study" if protocol == "study" else "", model, "unknown model")


def find_yaml(part: str, name: str, fault: str) -> Path:
    """Finds a YAML file in `part` of the folder with the experiments.

    Raises: ConfigError of `fault`, the name and the names that exist.
    """
    folder = experiments_folder() / part
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        raise ConfigError([f"{fault} {name!r}{nearest(name, names)}: choose one of {', '.join(names)}"])
    return path


def experiments_folder() -> Path:
    """Returns the folder with the experiments: ./experiments, the repository's, or the package's.

    Raises: ConfigError where none of them exists.
    """
    for base in (Path.cwd(), REPOSITORY, Path(__file__).resolve().parent):
        if (base / "experiments" / "study").is_dir():
            return base / "experiments"
    raise ConfigError(["no folder 'experiments' here or beside the package: run in the project folder"])


def replace(config: ExperimentConfig, **changes: Any) -> ExperimentConfig:
    """Returns a copy with dotted keys changed: `replace(config, **{"train.epochs": 3})`.

    Raises: ConfigError for unknown keys and values out of range.
    """
    values = to_mapping(config)
    faults = [fault for key, value in changes.items() for fault in assign(values, key, value)]
    built, found = check(ExperimentConfig, values)
    return valid(built, faults + found)


def with_overrides(
    config: ExperimentConfig, overrides: Sequence[str], only: Sequence[str]
) -> ExperimentConfig:
    """Applies "section.key=value" texts to a finished configuration.

    Args:
        config: read only.
        overrides: as for `load_experiment`; later ones win.
        only: the dotted keys that may be changed.

    Raises: ConfigError with every fault at once.
    """
    return _overridden(to_mapping(config), overrides, config.variant, only)


def to_mapping(config: ExperimentConfig) -> dict[str, Any]:
    """Returns the configuration as nested plain values; tuples become lists."""
    plain: dict[str, Any] = adapter(ExperimentConfig).dump_python(config, mode="json")
    return plain


def to_yaml(config: ExperimentConfig) -> str:
    """Returns the resolved configuration as YAML that `load_experiment` reads back equal."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def from_mapping(values: dict[str, Any], source: str) -> ExperimentConfig:
    """Builds a configuration from nested plain values.

    Raises: ConfigError with every fault at once, and `source` before them.
    """
    return valid(*check(ExperimentConfig, values), source)


def flatten(config: ExperimentConfig) -> dict[str, str | int | float | bool]:
    """Returns dotted names with one plain value each, as logged to MLflow."""
    values: dict[str, Any] = {}
    for name, value in to_mapping(config).items():
        inside = value.items() if isinstance(value, dict) else ()
        values |= {f"{name}.{key}": inner for key, inner in inside} or {name: value}
    return {key: ",".join(map(str, one)) if isinstance(one, list) else one for key, one in values.items()}


def _overridden(
    values: dict[str, Any], overrides: Sequence[str], source: str, only: Sequence[str] | None = None
) -> ExperimentConfig:
    """Builds an experiment from values and overrides; every fault says where it was found."""
    origin: dict[str, str] = {}
    faults: list[str] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            faults.append(f"--set {override!r}: expected key=value, for example train.epochs=3")
        elif only is not None and key not in only:
            faults.append(f"--set {override}: {key!r} cannot be set here: choose of {', '.join(only)}")
        else:
            origin[key] = override
            faults += [f"--set {override}: {fault}" for fault in assign(values, key, parse_value(text))]
    config, found = check(ExperimentConfig, values)
    for fault in found:
        place = source
        for key, override in origin.items():
            if f"{fault.key}.".startswith(f"{key}."):
                place = f"--set {override}"
            elif key.startswith(f"{fault.key}."):  # a rule about several keys, and this is one of them
                place += f" with --set {override}"
        faults.append(f"{place.strip()}: {fault}")
    return valid(config, faults)
