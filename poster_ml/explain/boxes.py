"""Boxes of text and faces on posters: found by the detectors of the optional extra `detect`, kept, measured.

Text: RapidOCR 3 (PP-OCR detection on ONNX Runtime), about 0.6 s per poster on two CPU cores. Faces:
MTCNN 1 (Zhang et al. 2016, arXiv:1604.02878), about 0.1 s. Both packages carry their models inside;
nothing is downloaded. They are imported when asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.errors import ExplanationError
from poster_ml.explain.pointing import Box, box_mask
from poster_ml.progress import progress

Detector = Callable[[np.ndarray], list[Box]]
_FACE_CONFIDENCE = 0.9
_SMALLEST = 2.0  # pixels; what is thinner is neither text nor face


def text_detector() -> Detector:
    """Makes a function that finds lines of text.

    Returns: (H, W, 3) uint8 RGB -> boxes (left, top, right, bottom) in pixels, right and bottom
        exclusive, within the picture; none where nothing was found.
    Raises: ExplanationError where the extra is not installed.
    """
    reader = _optional("rapidocr", "text").RapidOCR(params={"Global.log_level": "critical"})

    def detect(image: np.ndarray) -> list[Box]:
        backwards = np.ascontiguousarray(image[..., ::-1])  # the package reads BGR
        found = reader(backwards, use_det=True, use_cls=False, use_rec=False).boxes
        corners = np.zeros((0, 4, 2)) if found is None else np.asarray(found, float)
        return _inside(np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1), image)

    return detect


def face_detector() -> Detector:
    """Makes a function that finds faces; result and errors as for `text_detector`.

    Needs the TensorFlow package installed.
    """
    detector = _optional("mtcnn", "faces").MTCNN(device="CPU:0")

    def detect(image: np.ndarray) -> list[Box]:
        faces = [face for face in detector.detect_faces(image) if face["confidence"] >= _FACE_CONFIDENCE]
        corners = np.reshape([face["box"] for face in faces], (-1, 2, 2))  # left and top, width and height
        return _inside(corners.cumsum(axis=1), image)

    return detect


def box_features(boxes: Sequence[Box], height: int, width: int) -> dict[str, float]:
    """Measures the boxes of one kind on one poster.

    Args:
        boxes: (left, top, right, bottom) in pixels, right and bottom exclusive; may be none.
        height, width: of the poster.

    Returns: `count`; `share` of the poster that they cover together and `largest_share` of the
        largest one, in [0, 1]; `size_regularity` in (0, 1], 1 / (1 + the coefficient of variation
        of the heights): 1 where all are of one size; NaN for fewer than two boxes.
    """
    heights = np.array([bottom - top for _, top, _, bottom in boxes])
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    several = len(boxes) > 1
    return {
        "count": float(len(boxes)),
        "share": float(box_mask(boxes, height, width).mean()),
        "largest_share": float(max(areas, default=0.0) / (height * width)),
        "size_regularity": float(1.0 / (1.0 + heights.std() / heights.mean())) if several else float("nan"),
    }


def find_cached(
    make_detector: Callable[[], Detector], images: Any, rows: Sequence[int], file: Path, description: str
) -> list[list[Box]]:
    """Finds boxes on posters, reading those found before from a file and adding the others to it.

    Args:
        make_detector: makes the detector; called only when a poster is new.
        images: (N, H, W, 3) uint8, an array or a memory map; only new rows are read.
        rows: which posters, in the order of the result.
        file: JSON lines of row and boxes; one poster is written as soon as it is done, so what is killed goes
            on where it was. It belongs to one dataset and one detector: the caller sees to that.
        description: for the progress bar.

    Returns: for each row its boxes.
    """
    known: dict[int, list[Box]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        with suppress(ValueError):  # empty, or cut short
            entry = json.loads(line)
            known[entry["row"]] = entry["boxes"]
    new = [row for row in rows if row not in known]
    if new:
        file.parent.mkdir(parents=True, exist_ok=True)
        detect = make_detector()
        with file.open("a", encoding="utf-8") as handle:
            for row in progress(new, description):
                # To a tenth of a pixel, in the file and here: what comes back later is the same.
                known[row] = [[round(value, 1) for value in box] for box in detect(np.asarray(images[row]))]
                # The line break comes first: a line that a kill left unfinished spoils only itself.
                handle.write("\n" + json.dumps({"row": row, "boxes": known[row]}))
                handle.flush()
    return [known[row] for row in rows]


def _inside(boxes: np.ndarray, image: np.ndarray) -> list[Box]:
    """Cuts boxes at the border and drops what is left too thin."""
    height, width = image.shape[:2]
    cut = np.clip(np.reshape(boxes, (-1, 4)), 0.0, (width, height, width, height))
    thick = (cut[:, 2:] - cut[:, :2]).min(axis=1) >= _SMALLEST
    return [*cut[thick].tolist()]


def _optional(package: str, what: str) -> Any:
    try:
        return import_module(package)
    except ImportError as fault:
        raise ExplanationError(
            f"finding {what} needs the package {package!r}, which cannot be imported here ({fault}); "
            "install it with: pip install 'poster-ml[detect]'"
        ) from fault
