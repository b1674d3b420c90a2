"""Where text and faces are on real posters: detectors of the optional extra `detect`, imported when asked
for.

Text: RapidOCR 3 (PP-OCR detection on ONNX Runtime), about 0.6 s per poster on two CPU cores. Faces: MTCNN 1
(Zhang et al. 2016, arXiv:1604.02878), about 0.1 s. Both packages carry their models inside; nothing is
downloaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from poster_ml.errors import ExplanationError
from poster_ml.explain.boxes import Detector
from poster_ml.explain.graph import check_images
from poster_ml.explain.pointing import Box
from poster_ml.progress import progress

_FACE_CONFIDENCE = 0.9
_SMALLEST = 2.0  # pixels; what is thinner is no text and no face


def text_detector() -> Detector:
    """Returns a function from one poster (H, W, 3) uint8 RGB to the boxes of its lines of text.

    Raises: ExplanationError where the extra is not installed.
    """
    reader = _optional("rapidocr", "text").RapidOCR(params={"Global.log_level": "critical"})

    def detect(image: np.ndarray) -> list[Box]:
        backwards = np.ascontiguousarray(image[..., ::-1])  # the package reads BGR
        result = reader(backwards, use_det=True, use_cls=False, use_rec=False)
        corners = [] if result.boxes is None else [np.asarray(one, float) for one in result.boxes]
        return _inside([(*one.min(axis=0), *one.max(axis=0)) for one in corners], image)

    return detect


def face_detector() -> Detector:
    """Returns a function from one poster to the boxes of its faces; errors as for `text_detector`.

    Needs the TensorFlow package installed.
    """
    detector = _optional("mtcnn", "faces").MTCNN(device="CPU:0")

    def detect(image: np.ndarray) -> list[Box]:
        faces = [
            face["box"]
            for face in detector.detect_faces(image)
            if float(face["confidence"]) >= _FACE_CONFIDENCE
        ]
        return _inside([(left, top, left + width, top + height) for left, top, width, height in faces], image)

    return detect


def find_text(images: np.ndarray) -> list[list[Box]]:
    """Finds lines of text.

    Args:
        images: (N, H, W, 3) uint8 RGB.

    Returns: for each poster its boxes (left, top, right, bottom) in pixels, right and bottom exclusive,
        within the picture; an empty list where nothing was found.
    Raises: ExplanationError where the extra is not installed; ValueError with the shape received.
    """
    check_images(images)
    detect = text_detector()
    return [detect(image) for image in progress(images, "finding text")]


def find_faces(images: np.ndarray) -> list[list[Box]]:
    """Finds faces; arguments, result and errors as for `find_text`."""
    check_images(images)
    detect = face_detector()
    return [detect(image) for image in progress(images, "finding faces")]


def _inside(boxes: list[tuple[Any, ...]], image: np.ndarray) -> list[Box]:
    """Cuts boxes at the border and drops what is left too thin."""
    height, width = image.shape[:2]
    cut = []
    for left, top, right, bottom in boxes:
        box = (
            min(max(float(left), 0.0), float(width)),
            min(max(float(top), 0.0), float(height)),
            min(max(float(right), 0.0), float(width)),
            min(max(float(bottom), 0.0), float(height)),
        )
        if box[2] - box[0] >= _SMALLEST and box[3] - box[1] >= _SMALLEST:
            cut.append(box)
    return cut


def _optional(package: str, what: str) -> Any:
    try:
        return import_module(package)
    except ImportError as fault:
        raise ExplanationError(
            f"finding {what} needs the package {package!r}, which cannot be imported here ({fault}); "
            "install it with: pip install 'poster-ml[detect]'"
        ) from fault
