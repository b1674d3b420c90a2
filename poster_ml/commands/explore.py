"""`poster-ml explore`: what is in a dataset, as tables and figures, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.data import exploration
from poster_ml.data.exploration import Specimen
from poster_ml.data.images import Pixels
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import DatasetError
from poster_ml.evaluation.audit import AuditResult, write_audit
from poster_ml.figures import save_figure
from poster_ml.files import check_output_folder, command_result, open_output_folder
from poster_ml.pipeline.dataset_run import log_exploration
from poster_ml.progress import progress
from poster_ml.seeding import derive_seed, generator
from poster_ml.tracking.store import connect, work_done

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
SAMPLES = 16  # of each class on the contact sheet


@dataclass(frozen=True)
class ExploreResult:
    """What was written, and the audit that goes with it."""

    folder: Path
    files: tuple[Path, ...]
    audit: AuditResult
    run_id: str

    def text(self) -> str:
        """Returns what was found, and where the figures are."""
        lines = [*self.audit.findings, "", f"{len(self.files)} files in {self.folder}"]
        return "\n".join([*lines, f"logged to run {self.run_id}"] if self.run_id else lines)


def run_explore(
    data: Path, out: Path | None = None, *, seed: int = 42, count: int = 4, track: bool = True
) -> ExploreResult:
    """Writes all exploration figures and the audit of a prepared dataset.

    Args:
        data: a prepared dataset.
        out: where to; None: `exploration` inside `data`.
        seed: which training posters are shown, and how they are augmented; an int >= 0.
        count: posters per figure, 2 to 12, half of them Fresh.
        track: add the files to the MLflow run of the dataset.

    Raises: DatasetError where the dataset is missing or broken, or the folder cannot be written; OutputError
        where the folder holds other files.
    """
    if not 2 <= count <= 12:
        raise DatasetError(f"count must be between 2 and 12 posters per figure, got {count}")
    if seed < 0:
        raise DatasetError(f"seed must be 0 or more, got {seed}")
    dataset = PreparedDataset.open(data)
    if track:
        connect(write=True)
    folder = out if out is not None else data / "exploration"
    check_output_folder(folder, command_result("explore"))
    shown = pick_specimens(dataset, count, seed)
    sheet = pick_specimens(dataset, 2 * SAMPLES, seed)
    augment = study_augmentation(seed)
    drawings: dict[str, Callable[[], Any]] = {
        "samples": lambda: exploration.draw_samples(sheet),
        "denoised": lambda: exploration.draw_denoised(shown),
        "foreground": lambda: exploration.draw_foreground(shown),
        "regions": lambda: exploration.draw_regions(shown),
        "augmentation": lambda: exploration.draw_augmentations(
            shown, augment, seed=seed, description=STUDY_WORDS
        ),
    }
    try:
        open_output_folder(folder, "explore")
        files = [
            save_figure(draw(), folder / f"{name}.png")
            for name, draw in progress(drawings.items(), "drawing figures")
        ]
        audit = write_audit(dataset, folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"cannot write {folder}: {reason}; name a folder that you may write") from error
    written = (*files, *audit.files)
    run_id = ""
    if track:
        with work_done(f"{len(written)} files are complete in {folder}"):
            run_id = log_exploration(dataset, written, audit.findings)
    return ExploreResult(folder, written, audit, run_id)


def pick_specimens(dataset: PreparedDataset, count: int, seed: int) -> list[Specimen]:
    """Draws training posters, half of them Fresh where there are enough, Fresh ones first."""
    random = generator(seed, "explore")
    rows = dataset.indices("train")
    labels = dataset.labels(rows)
    chosen: list[int] = []
    for label, share in ((1, count - count // 2), (0, count // 2)):
        members = rows[labels == label]
        chosen += random.permutation(members)[:share].tolist()
    return [_specimen(dataset, row) for row in chosen]


def study_augmentation(seed: int) -> exploration.Augment:
    """Returns the study's augmentation as a function of pixels and a seed."""
    from poster_ml.augment.build import build_augmentation

    def augment(batch: Pixels, version: int) -> Pixels:
        values: Any = batch.astype(np.float32)
        for layer in build_augmentation(**STUDY_AUGMENTATION, seed=derive_seed(seed, "sheet", version)):
            values = layer(values, training=True)
        return np.clip(np.rint(np.asarray(values)), 0, 255).astype(np.uint8)

    return augment


def _specimen(dataset: PreparedDataset, row: int) -> Specimen:
    entry = dataset.index.iloc[row]
    aspect = float(entry["width"]) / float(entry["height"])
    title = entry["title"] if isinstance(entry["title"], str) else ""
    return Specimen(np.array(dataset.images[row]), title, int(entry["label"]), aspect)
