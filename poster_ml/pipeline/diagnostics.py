"""What a model leans on and what goes with Fresh: shortcut tests, pointing game, appearance of one split."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import qmc

from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.data.properties import CORNERS, measure
from poster_ml.evaluation.appearance import Appearance, measure_appearance, write_appearance
from poster_ml.evaluation.plots import ForestRow, draw_forest
from poster_ml.evaluation.stats import Interval, holm
from poster_ml.explain.maps import Explainer
from poster_ml.explain.perturbations import PERTURBATIONS, box_perturbations, shortcut_table
from poster_ml.explain.pointing import pointing_game
from poster_ml.figures import FRESH, INK
from poster_ml.files import write_text
from poster_ml.pipeline.poster_boxes import PosterBoxes, find_boxes
from poster_ml.seeding import derive_seed, generator

TRAINING_POSTERS = 64  # of the shortcut tests after training; `evaluate` takes as many as configured
POINTING_POSTERS = 128
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Diagnostics:
    """What was found on one split; None for what was not asked.

    shortcuts: as of `perturbations.shortcut_table`, with `_change_p_holm` and `_falls`, whether
        a measure falls significantly.
    pointing: kind of box -> as of `pointing.pointing_game`; only where a program drew the posters.
    """

    shortcuts: pd.DataFrame | None = None
    appearance: Appearance | None = None
    pointing: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """Returns `shortcut_<name>_auc_change` and `pointing_<kind>_...`, with intervals."""
        flat: dict[str, float] = {}
        for row in [] if self.shortcuts is None else self.shortcuts.iloc[1:].to_dict("records"):
            name = f"shortcut_{row['perturbation'].replace(' ', '_')}_auc_change"
            flat |= Interval.of(row, "roc_auc_change").columns(name)
        for kind, measured in self.pointing.items():
            for name, key in (("hit_rate", "hit_rate"), ("over_centre", "advantage_over_centre")):
                flat |= Interval.of_record(measured[key]).columns(f"pointing_{kind}_{name}")
        return flat


@dataclass(frozen=True)
class EvaluatedSplit:
    """The posters of one split and the model that is asked about them.

    predict: (B, H, W, 3) uint8 -> (B,) probability of Fresh, calibrated.
    rows: (n,) positions in the dataset; `posters` and `probabilities` are in their order.
    order: (n,) of `draw_order`: the tests take the first posters of it.
    """

    explainer: Explainer
    predict: Predict
    threshold: float
    dataset: PreparedDataset
    rows: np.ndarray
    posters: pd.DataFrame
    probabilities: np.ndarray
    order: np.ndarray

    def images(self, positions: np.ndarray) -> np.ndarray:
        """Reads some of the posters into memory."""
        return np.array(self.dataset.images[self.rows[positions]])


def run_diagnostics(
    evaluated: EvaluatedSplit, config: ExperimentConfig, folder: Path, *, complete: bool
) -> Diagnostics:
    """Runs the tests that the configuration asks for and writes their files.

    Args:
        evaluated: the posters and the model.
        config: its evaluate and explain sections are used.
        folder: `explain/<split>`; gets `shortcuts.csv` and `.png`, `pointing.json`,
            `appearance.csv`, `.json` and `.png`.
        complete: False tests the shortcuts on few posters, without text, faces and the rest: what
            can be had after every training.
    """
    order = evaluated.order
    count = config.explain.shortcut_posters
    if not complete:
        shortcuts, notes = _shortcuts(evaluated, config, order[: min(count, TRAINING_POSTERS)], None, folder)
        return Diagnostics(shortcuts, notes=notes)
    found = find_boxes(evaluated.dataset, evaluated.rows, order[: config.explain.detect_posters])
    shortcuts, notes = _shortcuts(evaluated, config, order[:count], found.first(count), folder)
    pointing = _pointing(evaluated, config, found, folder) if found.drawn else {}
    appearance = _appearance(evaluated, config, found, folder)
    return Diagnostics(shortcuts, appearance, pointing, found.notes + notes)


def draw_order(posters: pd.DataFrame, fingerprint: str) -> np.ndarray:
    """Returns an order of posters whose every beginning looks like the whole.

    It depends on the dataset alone, never on a model or a run's seed: all models of one dataset are tested on
    the same posters, and boxes found for one serve the others. Sorted by label and year, which goes with the
    label more than anything in a poster does, they are taken in bit-reversed order (van der Corput) from a
    random start: the first 64 of 1,300 have the class balance and nearly the years of all.

    Args:
        posters: n rows with movie_id, label, and year where known.
        fingerprint: of the dataset; decides the start.

    Returns: (n,) positions in `posters`.
    """
    years = pd.to_numeric(posters["year"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    names = posters["movie_id"].astype(str).to_numpy(str)
    ranked = np.lexsort((names, years, posters["label"].to_numpy()))
    count = len(ranked)
    van_der_corput = qmc.Halton(1, scramble=False).random(count)[:, 0]
    start = int(generator(0, "diagnostics", fingerprint).integers(count))
    return ranked[(np.argsort(van_der_corput) + start) % count]


def _shortcuts(
    evaluated: EvaluatedSplit,
    config: ExperimentConfig,
    positions: np.ndarray,
    found: PosterBoxes | None,
    folder: Path,
) -> tuple[pd.DataFrame | None, list[str]]:
    """Scores posters as they are and perturbed; what was found is hidden on those searched for it."""
    if not len(positions):
        return None, []
    dataset, tests = evaluated.dataset, [(positions, PERTURBATIONS)]
    if found is not None and found.boxes:
        # Noise and places by the dataset, so that every model is shown the same changed posters.
        size, seed = dataset.size, derive_seed(0, "diagnostics", dataset.fingerprint)
        tests.append((found.positions, box_perturbations(found.boxes, size, size, seed)))
    labels, confidence = evaluated.posters["label"].to_numpy(), config.evaluate.confidence
    tables = [
        shortcut_table(
            evaluated.predict,
            evaluated.images(chosen),
            labels[chosen],
            perturbations,
            threshold=evaluated.threshold,
            confidence=confidence,
        )
        for chosen, perturbations in tests
        if len(np.unique(labels[chosen])) == 2
    ]
    if not tables:
        return None, [f"No shortcut tests: the {len(positions)} posters drawn for them are of one class."]
    table = pd.concat(tables).drop_duplicates("perturbation", ignore_index=True)  # "none" once
    for name in ("roc_auc", "accuracy"):  # each measure is a family: all perturbations, hidden boxes too
        corrected = holm(table[f"{name}_change_p"])
        table[f"{name}_change_p_holm"] = corrected
        table[f"{name}_falls"] = (corrected < 1.0 - confidence) & (table[f"{name}_change"] < 0)
    write_text(folder / "shortcuts.csv", table.to_csv(index=False, float_format="%.6g"))
    draw_forest(
        folder / "shortcuts.png",
        [
            ForestRow(
                row["perturbation"],
                Interval.of(row, "roc_auc_change"),
                f"n = {row['posters']:,}",
                FRESH if row["roc_auc_falls"] else INK,
            )
            for row in table.iloc[1:].to_dict("records")
        ],
        label=f"change in ROC AUC with {confidence:.0%} interval",
        title="What the model loses; coloured: significant after Holm's correction",
        reference=0.0,
    )
    return table, []


def _pointing(
    evaluated: EvaluatedSplit, config: ExperimentConfig, found: PosterBoxes, folder: Path
) -> dict[str, Any]:
    """Where the drawn cause is known: does the map's highest place lie in it? Figures speak for Rotten."""
    some = found.first(POINTING_POSTERS)
    maps = evaluated.explainer.explain(evaluated.images(some.positions))
    signs = {"title": 1, "figures": -1}
    pointing = {
        kind: pointing_game(signs[kind] * maps, boxes, confidence=config.evaluate.confidence)
        for kind, boxes in some.boxes.items()
    }
    write_text(folder / "pointing.json", json.dumps(pointing, indent=1))
    return pointing


def _appearance(
    evaluated: EvaluatedSplit, config: ExperimentConfig, found: PosterBoxes, folder: Path
) -> Appearance | None:
    count = config.evaluate.appearance_posters
    if count == 0:
        return None
    chosen = np.sort(evaluated.order[:count])
    measured = measure(evaluated.dataset.images, evaluated.rows[chosen].tolist()).reset_index(drop=True)
    boxes = found.features(len(evaluated.rows), evaluated.dataset.size).iloc[chosen].reset_index(drop=True)
    appearance = measure_appearance(
        pd.concat([measured.drop(columns=list(CORNERS)), boxes], axis=1),
        evaluated.posters.iloc[chosen],
        evaluated.probabilities[chosen],
        confidence=config.evaluate.confidence,
    )
    write_appearance(folder, appearance)
    return appearance
