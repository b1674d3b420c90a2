"""What can be configured: frozen dataclasses, the only home of defaults.

A configuration is a YAML file under `experiments/` plus `--set key=value` overrides. Everything that
does not fit (unknown key, wrong type, value out of range) is collected and reported in one error.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from poster_ml.errors import ConfigError, nearest
from poster_ml.values import convert, fault_of

Section = TypeVar("Section")

REPOSITORY = Path(__file__).resolve().parent.parent


def option(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    recorded: tuple[str, ...] = (),
) -> Any:
    """Declares one field with its default and what is allowed (both bounds inclusive).

    `recorded` values stand in the records of runs that no experiment file describes.
    """
    metadata = {"low": low, "high": high, "choices": choices, "recorded": recorded}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    `unfreeze` says which part of the backbone is trained: "none", "all", a list of block or layer names
    (`[block4, block5]`), or a number of convolution layers counted from the top. Networks without a
    backbone (family `cnn`) are always trained whole.
    """

    family: str = option(
        "cnn",
        choices=("cnn", "vgg16", "inception_v3", "inception_resnet_v2", "mobilenet_v2"),
        recorded=("blend",),  # made of trained runs by `poster-ml blend`
    )
    weights: str = "imagenet"  # "imagenet", "none" or a file
    preprocessing: str = option("backbone", choices=("backbone", "unit"))  # unit: pixels / 255
    cut: str = ""  # take the backbone's output at this layer; empty: at its end
    taps: tuple[str, ...] = ()  # lower layers whose averaged channels join the pooled output
    pooling: str = option("flatten", choices=("flatten", "average"))
    standardize: bool = False  # pooled features to mean 0, deviation 1, from the training posters
    filters: tuple[int, ...] = option((16, 64, 128), low=1, high=65_536)  # family cnn only
    dense: tuple[int, ...] = option((512,), low=1, high=65_536)
    dropout: float = option(0.0, low=0.0, high=0.95)
    l2: float = option(0.0, low=0.0, high=100.0)  # penalty on the head's squared weights, in the loss
    unfreeze: str | int | tuple[str, ...] = option("none", low=0)
    batch_norm: str = option("inference", choices=("inference", "train"))


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training posters; every range is multiplied by `strength`.

    Units as in Keras' ImageDataGenerator: rotation and shear in degrees, zoom and shift as fractions.
    """

    strength: float = option(1.0, low=0.0, high=1.0)
    rotation: float = option(0.0, low=0.0, high=180.0)
    zoom: float = option(0.0, low=0.0, high=0.9)
    shift: float = option(0.0, low=0.0, high=0.9)
    shear: float = option(0.0, low=0.0, high=80.0)
    horizontal_flip: bool = False
    fill: str = option("nearest", choices=("nearest", "reflect", "constant"))
    brightness: float = option(0.0, low=0.0, high=1.0)
    contrast: float = option(0.0, low=0.0, high=1.0)
    saturation: float = option(0.0, low=0.0, high=1.0)
    erasing: float = option(0.0, low=0.0, high=1.0)  # probability per poster

    @property
    def active(self) -> bool:
        """Whether any poster is changed at all."""
        ranges = (self.rotation, self.zoom, self.shift, self.shear, self.brightness, self.contrast)
        more = (self.saturation, self.erasing, float(self.horizontal_flip))
        return self.strength > 0 and any(value > 0 for value in ranges + more)


@dataclass(frozen=True)
class TrainConfig:
    """How the network is fitted. `monitor` selects the epoch that is kept and stops the training."""

    epochs: int = option(15, low=1, high=10_000)
    batch_size: int = option(32, low=1, high=4096)
    optimizer: str = option("rmsprop", choices=("rmsprop", "adam", "adamw", "sgd"))
    learning_rate: float = option(1e-3, low=1e-9, high=10.0)
    weight_decay: float = option(0.0, low=0.0, high=1.0)
    schedule: str = option("constant", choices=("constant", "plateau", "cosine"))
    warmup_epochs: int = option(0, low=0, high=1000)  # cosine only: linear rise before the decay
    plateau_patience: int = option(3, low=1, high=1000)
    plateau_factor: float = option(0.1, low=1e-3, high=0.99)
    monitor: str = option(
        "val_auc", choices=("val_auc", "val_loss", "val_accuracy", "accuracy", "loss", "auc")
    )
    patience: int = option(0, low=0, high=1000)  # epochs without a rise before stopping; 0: never stop
    keep_best: bool = True  # False keeps the last epoch
    label_smoothing: float = option(0.0, low=0.0, high=0.9)
    class_weight: str = option("none", choices=("none", "balanced"))
    clip_norm: float = option(0.0, low=0.0)  # 0: no clipping
    ema_momentum: float = option(0.0, low=0.0, high=0.9999)  # 0: no averaging of weights
    head_warmup_epochs: int = option(0, low=0, high=1000)  # backbone frozen for the first epochs
    layer_rate_decay: float = option(1.0, low=0.01, high=1.0)  # rate of each convolution below the next
    feature_cache: bool = True  # run a frozen prefix once instead of every epoch
    augmented_views: int = option(0, low=0, high=64)  # cached views; 0: new ones every epoch
    precision: str = option("auto", choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"))
    deterministic: bool = False


@dataclass(frozen=True)
class EvaluateConfig:
    """How a model is judged."""

    bootstrap: int = option(1000, low=100, high=100_000)
    confidence: float = option(0.95, low=0.5, high=0.999)
    threshold: str = option("half", choices=("half", "youden", "cost"))
    cost_false_fresh: float = option(1.0, low=1e-3, high=1e3)  # threshold "cost": a Rotten one called Fresh
    cost_false_rotten: float = option(1.0, low=1e-3, high=1e3)  # threshold "cost": a Fresh one called Rotten
    calibrate: bool = True  # temperature scaling fitted on validation
    appearance_posters: int = option(2000, low=0)  # what makes a poster look Fresh; 0: not asked


@dataclass(frozen=True)
class ExplainConfig:
    """How a model is explained."""

    method: str = option("auto", choices=("auto", "cam", "gradcam", "hirescam"))
    layer: str = ""  # empty: the last convolution
    faithfulness_posters: int = option(32, low=0, high=5000)  # 0: not measured
    shortcut_posters: int = option(500, low=0)  # in `evaluate`; few of them in training; 0: none
    detect_posters: int = option(500, low=0)  # searched for text and faces (extra `detect`); 0: none


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment: what `experiments/*.yaml` describes and a run logs as `experiment.yaml`."""

    variant: str = "basic_cnn"
    protocol: str = option("sound", choices=("study", "sound"))
    seed: int = option(42, low=0, high=2**31 - 2)
    limit: int = option(0, low=0)  # use only so many posters; 0: all
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)


def load_experiment(path: Path, overrides: tuple[str, ...] = ()) -> ExperimentConfig:
    """Reads one experiment and applies overrides.

    Args:
        path: a YAML file as under `experiments/`.
        overrides: "section.key=value" each, for example "train.learning_rate=1e-4".

    Raises: ConfigError with every fault of the file and of the overrides at once.
    """
    values, faults = _read_mapping(path)
    faults = [f"{path}: {fault}" for fault in faults]
    set_faults: list[str] = []
    origin: dict[str, str] = {}
    for override in overrides:
        _apply_override(values, override, set_faults, origin)
    found: list[str] = []
    config = _build(ExperimentConfig, values, "", found)
    for fault in found:
        key = fault.split(" ", 1)[0]
        faults.append(f"--set {origin[key]}: {fault}" if key in origin else f"{path}: {fault}")
    faults.extend(set_faults)
    if faults:
        raise ConfigError(faults)
    return config


def experiment_path(model: str, protocol: str = "sound") -> Path:
    """Finds the YAML of a variant, looking in ./experiments first and then beside the package.

    Raises: ConfigError naming the variants that exist.
    """
    folder = experiments_folder()
    folder = folder / "study" if protocol == "study" else folder
    path = folder / f"{model}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        hint = nearest(model, names)
        raise ConfigError([f"unknown model {model!r}{hint}: choose one of {', '.join(names)}"])
    return path


def experiments_folder() -> Path:
    """Returns the folder with the experiments: ./experiments, or the one that came with the package.

    Raises: ConfigError where neither exists.
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
    faults: list[str] = []
    for key, value in changes.items():
        _assign(values, key, value, faults)
    built = _build(ExperimentConfig, values, "", faults)
    if faults:
        raise ConfigError(faults)
    return built


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
    values, faults = to_mapping(config), list[str]()
    origin: dict[str, str] = {}
    for override in overrides:
        _apply_override(values, override, faults, origin)
    refused = [key for key in origin if key not in only]
    if refused:
        allowed = ", ".join(only)
        faults += [f"--set {origin[key]}: {key!r} cannot be set here: choose of {allowed}" for key in refused]
        raise ConfigError(faults)
    found: list[str] = []
    built = _build(ExperimentConfig, values, "", found)
    faults += [f"--set {origin.get(fault.split(' ', 1)[0], fault)}: {fault}" for fault in found]
    if faults:
        raise ConfigError(faults)
    return built


def to_mapping(config: ExperimentConfig) -> dict[str, Any]:
    """Returns the configuration as nested plain values; tuples become lists."""
    return typing.cast(dict[str, Any], _plain(dataclasses.asdict(config)))


def to_yaml(config: ExperimentConfig) -> str:
    """Returns the resolved configuration as YAML that `load_experiment` reads back equal."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def from_mapping(values: dict[str, Any], source: str) -> ExperimentConfig:
    """Builds a configuration from nested plain values.

    Raises: ConfigError with every fault at once, and `source` before them.
    """
    faults: list[str] = []
    config = _build(ExperimentConfig, values, "", faults)
    if faults:
        raise ConfigError(faults, source)
    return config


def flatten(config: ExperimentConfig) -> dict[str, str | int | float | bool]:
    """Returns dotted names with one plain value each, as logged to MLflow."""
    flat: dict[str, str | int | float | bool] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = ",".join(map(str, value)) if isinstance(value, list) else value

    visit("", to_mapping(config))
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (tuple, list)) else value


def _read_mapping(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"cannot read {path}: {error.strerror}; give an existing YAML file"]) from error
    except (yaml.YAMLError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise ConfigError([f"{path} is not YAML: {detail}"]) from error
    if loaded is None:
        return {}, []
    if not isinstance(loaded, dict):
        return {}, [f"expected keys and values at the top level, got a {type(loaded).__name__}"]
    return loaded, []


def _apply_override(values: dict[str, Any], override: str, faults: list[str], origin: dict[str, str]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        faults.append(f"--set {override!r}: expected key=value, for example train.epochs=3")
        return
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # "2020-13-45" looks like a date and is none
        value = text
    origin[key.strip()] = override
    _assign(values, key.strip(), value, faults)


def _assign(values: dict[str, Any], key: str, value: Any, faults: list[str]) -> None:
    *sections, last = key.split(".")
    node = values
    for section in sections:
        inner = node.setdefault(section, {})
        if not isinstance(inner, dict):
            faults.append(f"{key}: {section!r} is a value, not a section")
            return
        node = inner
    node[last] = value


def _build(kind: type[Section], values: Any, prefix: str, faults: list[str]) -> Section:
    """Builds one section; what does not fit goes to `faults` and keeps its default."""
    fields = {item.name: item for item in dataclasses.fields(typing.cast(Any, kind))}
    hints = typing.get_type_hints(kind)
    if not isinstance(values, dict):
        faults.append(f"{prefix or 'experiment'} must be a section with keys, got {values!r}")
        return kind()
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if key not in fields:
            faults.append(f"{name} is no known key{_nearest_key(name, prefix)}")
        elif dataclasses.is_dataclass(hints[key]):
            arguments[key] = _build(typing.cast(Any, hints[key]), value, name, faults)
        else:
            converted = convert(value, hints[key])
            fault = fault_of(converted, value, hints[key], fields[key].metadata)
            if fault:
                faults.append(f"{name} {fault}")
            else:
                arguments[key] = converted
    return kind(**arguments)


def _nearest_key(name: str, section: str) -> str:
    """Points at the dotted key that was probably meant: in the same section first, then anywhere."""
    keys = list(flatten(ExperimentConfig()))
    last = name.rsplit(".", 1)[-1]
    within = [key for key in keys if key.rpartition(".")[0] == section]
    for candidates in (within, keys):
        by_last = {key.rsplit(".", 1)[-1]: key for key in candidates}
        close = difflib.get_close_matches(last, by_last, n=1, cutoff=0.6)
        if close:
            return f" (did you mean {by_last[close[0]]!r}?)"
    return ""
