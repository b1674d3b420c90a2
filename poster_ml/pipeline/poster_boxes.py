"""What stands where on the posters of a split: drawn boxes of synthetic ones, detected ones of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ExplanationError
from poster_ml.explain.boxes import Detector, box_features, face_detector, find_cached, text_detector
from poster_ml.explain.pointing import Box
from poster_ml.files import write_text
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
        return replace(self, positions=self.positions[:count], boxes=boxes)

    def features(self, posters: int, size: int) -> pd.DataFrame:
        """Returns `<kind>_count, <kind>_share, ...` of all `posters` of a split; NaN: not looked for.

        `size` is the posters' side in pixels. A title is one: its number and regularity are left out.
        """
        columns = {}
        for kind, found in self.boxes.items():
            measured = pd.DataFrame([box_features(one, size, size) for one in found], index=self.positions)
            for name in ["largest_share"] if kind == "title" else measured.columns:
                columns[f"{kind}_{name}"] = measured[name].reindex(range(posters))
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
    boxes: dict[str, list[list[Box]]] = {}
    notes = []
    cache = feature_cache_folder() / f"boxes-{dataset.fingerprint[:16]}"
    wanted = rows[positions].tolist()
    for kind, make in DETECTORS.items() if wanted else ():
        try:
            boxes[kind] = find_cached(
                make, dataset.images, wanted, cache / f"{kind}.jsonl", f"finding {kind}"
            )
        except ExplanationError as error:
            notes.append(f"Not looked for: {kind}, since {error}.")
    if boxes:
        entry = {"dataset": dataset.fingerprint, "shape": "boxes of text and faces"}  # for `poster-ml cache`
        write_text(cache / "entry.json", json.dumps(entry))
    return PosterBoxes(positions, boxes, notes=notes)


def _drawn_boxes(dataset: PreparedDataset, rows: np.ndarray) -> dict[str, list[list[Box]]] | None:
    """Reads the boxes of what a program drew and scales them to the prepared posters; None: not known."""
    options, source = dataset.manifest["options"], dataset.manifest.get("source", {})
    places = [dataset.folder / REGIONS]
    if source.get("table") == "synthetic":
        places.append(dataset.folder.parent / "synthetic" / REGIONS)
    file = next((place for place in places if place.is_file()), None)
    if file is None or options["fit"] != "squash":
        return None
    posters = dataset.index.iloc[rows][["movie_id", "width", "height"]]
    table = pd.read_csv(file, dtype={"movie_id": str}).merge(posters, on="movie_id", suffixes=("_drawn", ""))
    if table.empty:
        return None
    for ends, side in ((["left", "right"], "width"), (["top", "bottom"], "height")):
        table[ends] = table[ends].mul(dataset.size / table[side], axis=0)
    found: dict[Any, Any] = {
        key: group[["left", "top", "right", "bottom"]].to_numpy().tolist()
        for key, group in table.groupby(["kind", "movie_id"])
    }
    return {
        kind: [found.get((drawn, movie), []) for movie in posters["movie_id"]]
        for drawn, kind in DRAWN_KINDS.items()
    }
