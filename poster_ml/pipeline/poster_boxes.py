"""What stands where on the posters of a split: drawn boxes of synthetic ones, detected ones of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ExplanationError
from poster_ml.explain.boxes import Detector, box_features, face_detector, find_cached, text_detector
from poster_ml.explain.pointing import Box
from poster_ml.files import atomic_path
from poster_ml.pipeline.features import feature_cache_folder

REGIONS = "regions.csv"
DRAWN_KINDS = {"title": "title", "figure": "figures"}
DETECTORS: dict[str, Callable[[], Detector]] = {"text": text_detector, "faces": face_detector}


@dataclass(frozen=True)
class PosterBoxes:
    """Boxes of some posters.

    positions: (P,) which posters of the split, by their place in it.
    boxes: kind ("title", "figures", or "text", "faces") -> for each of `positions` its boxes in pixels.
    drawn: whether they are known for sure, because a program drew them.
    notes: a sentence for everything that could not be looked for.
    """

    positions: np.ndarray
    boxes: dict[str, list[list[Box]]] = field(default_factory=dict)
    drawn: bool = False
    notes: list[str] = field(default_factory=list)

    def first(self, count: int) -> PosterBoxes:
        """Returns the same for the first `count` posters."""
        boxes = {kind: found[:count] for kind, found in self.boxes.items()}
        return PosterBoxes(self.positions[:count], boxes, self.drawn, self.notes)

    def features(self, posters: int, size: int) -> pd.DataFrame:
        """Returns `<kind>_count, <kind>_share, ...` of all `posters` of a split; NaN: not looked for.

        `size` is the posters' side in pixels. A title is one: its number and regularity are left out.
        """
        columns: dict[str, np.ndarray] = {}
        for kind, found in self.boxes.items():
            measured = pd.DataFrame([box_features(one, size, size) for one in found])
            names = ["largest_share"] if kind == "title" else list(measured.columns)
            for name in names:
                column = np.full(posters, np.nan)
                column[self.positions] = measured[name].to_numpy()
                columns[f"{kind}_{name}"] = column
        return pd.DataFrame(columns, index=range(posters))


def find_boxes(dataset: PreparedDataset, rows: np.ndarray, positions: np.ndarray) -> PosterBoxes:
    """Finds what stands where: from `regions.csv` where there is one, else by the detectors, if installed.

    Args:
        dataset: `regions.csv` (as `poster-ml synth` writes it) is read from its folder; the demo's from where
            its posters were drawn.
        rows: (n,) of the split, positions in the dataset.
        positions: which of `rows` are looked at.
    """
    drawn = _drawn_boxes(dataset, rows[positions])
    if drawn is not None:
        return PosterBoxes(positions, drawn, drawn=True)
    if not len(positions):
        return PosterBoxes(positions)
    boxes: dict[str, list[list[Box]]] = {}
    notes = []
    cache = feature_cache_folder() / f"boxes-{dataset.fingerprint[:16]}"
    for kind, make in DETECTORS.items():
        try:
            boxes[kind] = find_cached(
                make, dataset.images, rows[positions].tolist(), cache / f"{kind}.jsonl", f"finding {kind}"
            )
        except ExplanationError as error:
            notes.append(f"Not looked for: {kind}, since {error}.")
    if boxes:
        _describe(cache, dataset)
    return PosterBoxes(positions, boxes, notes=notes)


def _describe(cache: Path, dataset: PreparedDataset) -> None:
    """Says what the folder holds, for `poster-ml cache`."""
    with atomic_path(cache / "entry.json") as temporary:
        temporary.write_text(json.dumps({"dataset": dataset.fingerprint, "shape": "boxes of text and faces"}))


def _drawn_boxes(dataset: PreparedDataset, rows: np.ndarray) -> dict[str, list[list[Box]]] | None:
    options, source = dataset.manifest["options"], dataset.manifest.get("source", {})
    places = [dataset.folder / REGIONS]
    if source.get("table") == "synthetic":
        places.append(dataset.folder.parent / "synthetic" / REGIONS)
    file = next((place for place in places if place.is_file()), None)
    if file is None or options["fit"] != "squash":
        return None
    table = pd.read_csv(file, dtype={"movie_id": str})
    posters = dataset.index.iloc[rows]
    if not posters["movie_id"].isin(table["movie_id"]).any():
        return None
    found: dict[str, list[list[Box]]] = {}
    for drawn, kind in DRAWN_KINDS.items():
        of_kind = dict(list(table[table["kind"] == drawn].groupby("movie_id")))
        found[kind] = [
            _scaled(of_kind.get(movie), dataset.size / width, dataset.size / height)
            for movie, width, height in zip(
                posters["movie_id"], posters["width"], posters["height"], strict=True
            )
        ]
    return found


def _scaled(regions: pd.DataFrame | None, across: float, down: float) -> list[Box]:
    if regions is None:
        return []
    return [
        (left * across, top * down, right * across, bottom * down)
        for left, top, right, bottom in regions[["left", "top", "right", "bottom"]].to_numpy(float).tolist()
    ]
