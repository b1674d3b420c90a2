"""`poster-ml explore`: what is in a dataset, as tables and figures, before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.augment.build import build_augmentation
from poster_ml.data import exploration
from poster_ml.data.images import Pixels
from poster_ml.data.prepared import PreparedDataset
from poster_ml.data.reading import Rows
from poster_ml.evaluation.audit import write_audit
from poster_ml.figures import save_figure
from poster_ml.files import open_output_folder
from poster_ml.pipeline.dataset_run import log_exploration
from poster_ml.seeding import derive_seed, generator
from poster_ml.tracking.store import connect

# The study's augmentation (ImageDataGenerator's units): what its figure shows.
STUDY_AUGMENTATION: dict[str, Any] = {
    "rotation": 50.0,
    "zoom": 0.3,
    "shift": 0.2,
    "shear": 0.2,
    "horizontal_flip": True,
    "fill": "nearest",
}
STUDY_WORDS = "the study's (rotation 50°, zoom .3, shift .2, shear .2°, flip)"
SHOWN = 4  # posters per figure, half of them Fresh


@dataclass(frozen=True)
class ExploreResult:
    """What was written, and what the audit found."""

    folder: Path
    files: tuple[Path, ...]
    findings: tuple[str, ...]
    run_id: str

    def text(self) -> str:
        """Returns what was found, and where the figures are."""
        lines = [*self.findings, "", f"{len(self.files)} files in {self.folder}"]
        return "\n".join([*lines, f"logged to run {self.run_id}"] if self.run_id else lines)


def run_explore(data: Path, out: Path | None = None, *, seed: int = 42, track: bool = True) -> ExploreResult:
    """Writes all exploration figures and the audit of a prepared dataset.

    Args:
        data: a prepared dataset.
        out: where to; None: `exploration` inside `data`.
        seed: which training posters are shown, and how they are augmented; an int >= 0.
        track: add the files to the MLflow run of the dataset.

    Raises: DatasetError where the dataset is missing or broken; OutputError where the folder holds
        other files.
    """
    dataset = PreparedDataset.open(data)
    if track:
        connect(write=True)
    folder = out if out is not None else data / "exploration"
    open_output_folder(folder, "explore")
    shown = pick_posters(dataset, SHOWN, seed)

    def augment(batch: Pixels, version: int) -> Pixels:
        return augment_as_the_study(batch, derive_seed(seed, "sheet", version))

    figures = {
        "denoised": exploration.draw_denoised(dataset, shown),
        "foreground": exploration.draw_foreground(dataset, shown),
        "regions": exploration.draw_regions(dataset, shown),
        "augmentation": exploration.draw_augmentations(dataset, shown, augment, STUDY_WORDS),
    }
    files = [save_figure(figure, folder / f"{name}.png") for name, figure in figures.items()]
    findings, tables = write_audit(dataset, folder)
    written = (*files, *tables)
    run_id = log_exploration(dataset, written, findings) if track else ""
    return ExploreResult(folder, written, findings, run_id)


def pick_posters(dataset: PreparedDataset, count: int, seed: int) -> Rows:
    """Draws training posters, half of them Fresh where there are enough, Fresh ones first."""
    random = generator(seed, "explore")
    rows = dataset.indices("train")
    labels = dataset.labels(rows)
    return np.concatenate([random.permutation(rows[labels == label])[: count // 2] for label in (1, 0)])


def augment_as_the_study(batch: Pixels, seed: int) -> Pixels:
    """Returns random versions of (B, S, S, 3) uint8 posters, augmented as in the study."""
    values: Any = batch.astype(np.float32)
    for layer in build_augmentation(**STUDY_AUGMENTATION, seed=seed):
        values = layer(values, training=True)
    return np.clip(np.rint(np.asarray(values)), 0, 255).astype(np.uint8)
