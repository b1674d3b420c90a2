"""What a served network needs to know besides its weights: one small JSON file beside the `.keras` file."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poster_ml.errors import RegistryError, one_line

FITS = ("squash", "pad", "crop")
SETTINGS_FILE = "settings.json"
NETWORK_FILE = "network.keras"
REFERENCE_FOLDER = "reference"
# What a row of the answer has, whatever was asked; the last four where year or genres are known.
METADATA_COLUMNS = ("probability_metadata", "probability_combined", "poster_effect", "note")
COLUMNS = ("probability_fresh", "label", "threshold", "error", *METADATA_COLUMNS)
# What the served code imports beside the network's own library: tables, decoding, the sigmoid, the models of
# year and genres, the prediction log.
SHARED_REQUIREMENTS = (
    "numpy",
    "pandas",
    "pillow",
    "scipy",
    "scikit-learn",
    "skops",
    "statsmodels",
    "threadpoolctl",
    "concurrent-log-handler",
    "filelock",
)
COMPACT_FILE = "network.tflite"


@dataclass(frozen=True)
class ServingSettings:
    """How one network is fed and how its logit is read.

    size: side of the square input in pixels, at least 8.
    fit: how a poster is brought to the square: "squash", "pad" or "crop", as in training.
    threshold: in (0, 1); a poster is called Fresh from this probability on.
    temperature: above 0; the logit is divided by it before the sigmoid (temperature scaling).
    variant, family: names as in `experiments/`.
    explain_method: "auto", "cam", "gradcam" or "hirescam".
    explain_layer: a convolution layer's name; empty takes the last one.
    """

    size: int
    fit: str = "squash"
    threshold: float = 0.5
    temperature: float = 1.0
    variant: str = ""
    family: str = ""
    explain_method: str = "auto"
    explain_layer: str = ""

    def __post_init__(self) -> None:
        """Checks at the door. Raises: ValueError with the value."""
        if self.size < 8:
            raise ValueError(f"size must be at least 8, got size={self.size!r}")
        if self.fit not in FITS:
            raise ValueError(f"fit must be one of {FITS}, got fit={self.fit!r}")
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold must lie in (0, 1), got threshold={self.threshold!r}")
        if not (self.temperature > 0.0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be above 0, got temperature={self.temperature!r}")

    def write(self, path: Path) -> None:
        """Writes the settings as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


def read_settings(path: Path) -> ServingSettings:
    """Reads the settings of a logged model.

    Raises: RegistryError where the file is missing, is not JSON or holds what this version does not know.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ServingSettings(**values)
    except (OSError, ValueError, TypeError) as error:
        raise RegistryError(
            f"{path.name} of the model cannot be read ({one_line(error)}): log the model again"
        ) from error
