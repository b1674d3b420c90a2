"""Known functions in the place of training: benchmarks and tests evaluate the search itself on them.

The landscape: validation AUC falls quadratically with the distance from a known optimum, in the unit each
parameter is searched in (log for the learning rate). The curve: AUC rises from .5 towards that value with a
known rate, as val_auc does over epochs, with a little noise that depends on the trial's seed alone.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poster_ml.seeding import generator
from poster_ml.tuning.trial import TrialContext

BEST_AUC = 0.70
OPTIMUM = {"model.dropout": 0.25, "model.unfreeze": 4, "augment.strength": 0.4, "train.learning_rate": 3e-4}
PENALTY = {
    "model.dropout": 0.10,
    "model.unfreeze": 0.001,
    "augment.strength": 0.05,
    "train.learning_rate": 0.03,
}

SPACE = {
    "variant": "surrogate",
    "parameters": {
        "model.dropout": {"role": "scientific", "type": "float", "low": 0.0, "high": 0.8},
        "model.unfreeze": {"role": "scientific", "type": "int", "low": 0, "high": 12},
        "augment.strength": {"role": "scientific", "type": "float", "low": 0.0, "high": 1.0},
        "train.learning_rate": {"role": "nuisance", "type": "log", "low": 1e-6, "high": 1e-1},
    },
}


def landscape(overrides: dict[str, Any]) -> float:
    """Returns the AUC that a setting reaches in the end, at most `BEST_AUC`."""
    value = BEST_AUC
    for key, best in OPTIMUM.items():
        setting = float(overrides.get(key, best))
        distance = math.log10(setting / best) if key == "train.learning_rate" else setting - best
        value -= PENALTY[key] * distance**2
    return max(0.5, value)


def curve(overrides: dict[str, Any], epochs: int, seed: int, noise: float = 0.004) -> list[float]:
    """Returns the AUC after each epoch: 1 - exp(-epoch / 4) of the way from .5 to the landscape's value."""
    final = landscape(overrides)
    wobble = generator(seed, "curve").normal(0.0, noise, epochs)
    return [
        0.5 + (final - 0.5) * (1 - math.exp(-(epoch + 1) / 4)) + float(wobble[epoch])
        for epoch in range(epochs)
    ]


@dataclass(frozen=True)
class SurrogateObjective:
    """Walks along the curve of a setting.

    Attributes:
        epochs: length of a full trial.
        seconds: slept per epoch, so that a test can kill a worker in between.
        ledger: a file that gets a line per begun and ended trial, where given.
        broken: raise instead.
    """

    epochs: int = 6
    seconds: float = 0.0
    ledger: Path | None = None
    broken: bool = False

    def __call__(self, trial: TrialContext) -> float | None:
        """Returns the best AUC of the curve."""
        self._write(f"begin {trial.number}")
        if self.broken:
            raise RuntimeError("the objective is broken")
        best = 0.0
        done = trial.folder / "epochs"
        begin = int(done.read_text()) if done.exists() else 0
        for epoch, value in enumerate(curve(trial.overrides, self.epochs, trial.seed), start=1):
            if epoch > begin:
                self._write(f"epoch {trial.number} {epoch}")
                time.sleep(self.seconds)
                done.write_text(str(epoch))
            best = max(best, value)
            if trial.report(epoch, value):
                self._write(f"prune {trial.number}")
                return None
        self._write(f"end {trial.number}")
        return best

    def _write(self, line: str) -> None:
        if self.ledger is not None:
            with self.ledger.open("a") as handle:
                handle.write(line + "\n")
