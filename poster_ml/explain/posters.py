"""Explains poster files: one sheet of maps and the intermediate layers of each poster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from poster_ml.errors import ExplanationError
from poster_ml.explain.activations import write_activation_grids
from poster_ml.explain.faithfulness import draw_maps, probability_function
from poster_ml.explain.maps import Explainer
from poster_ml.explain.sheets import write_sheet
from poster_ml.files import open_output_folder, printable
from poster_ml.progress import progress

SURE = 8  # posters per sheet, as in the study
Decode = Callable[[Path], np.ndarray]


def explain_files(
    model: keras.Model,
    posters: Sequence[Path],
    out: Path,
    *,
    method: str = "auto",
    layer_name: str = "",
    decode: Decode,
    batch_size: int = 16,
) -> list[Path]:
    """Writes the explanation of any poster files.

    Args:
        model: Keras model with one logit (B, 1); read only.
        posters: at least one image file.
        out: folder, made where missing.
        method, layer_name: as for `explain_images`; a named layer is also the one drawn as a grid.
        decode: path -> (H, W, 3) uint8 of the model's size; raises a PosterMLError for no image.
        batch_size: posters per pass.

    Returns: the files: `maps_<number>.png` sheets of 8 posters each, in the order given, and for each poster
        `<name>/activations_<layer>.png`.
    Raises: PosterMLError without a poster; UnknownLayerError; OutputError where `out` holds other files; what
        `decode` raises. Nothing is written then.
    """
    if not posters:
        raise ExplanationError("no poster to explain; name at least one image file")
    explainer = Explainer(model, method=method, layer_name=layer_name)
    images = np.stack([decode(path) for path in progress(posters, "decoding posters")])
    probabilities = probability_function(model, batch_size)(images)
    maps = draw_maps(explainer, images, batch_size)
    heading = f"Where {model.name} sees Fresh and Rotten ({explainer.how})"
    open_output_folder(out, "explain")
    written = []
    for start in range(0, len(images), SURE):
        rows = slice(start, start + SURE)
        names = [printable(path.stem) for path in posters[rows]]
        labels = [None] * len(names)
        path = out / f"maps_{start // SURE + 1}.png"
        written.append(
            write_sheet(path, images[rows], maps[rows], names, labels, probabilities[rows].tolist(), heading)
        )
    layers = [layer_name] if layer_name else None
    folders = _folder_names(posters)
    for image, folder in zip(images, progress(folders, "drawing layers"), strict=True):
        written.extend(write_activation_grids(model, image, out / folder, layers))
    return written


def write_explanation(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    titles: Sequence[str | float | None],
    out: Path,
    *,
    threshold: float = 0.5,
    method: str = "auto",
    layer_name: str = "",
    batch_size: int = 16,
) -> list[Path]:
    """Writes the sheets of a split: surest Fresh and Rotten, worst errors of each kind, intermediate layers.

    Args:
        model: Keras model with one logit (B, 1); read only.
        images: (N, H, W, 3) uint8, an array or a memory map; only the rows shown are read.
        labels: (N,) 1 Fresh, 0 Rotten.
        probabilities: (N,) of Fresh, in [0, 1].
        titles: N names.
        out: folder, made where missing.
        threshold: the model's, in [0, 1]; predicted Fresh from here on, which decides what is an error.
        method, layer_name: as for `explain_images`.
        batch_size: posters per pass.

    Returns: `cam_fresh_top8.png, cam_rotten_top8.png, cam_false_fresh_worst8.png,
        cam_false_rotten_worst8.png` and `activations_<layer>.png` of the surest Fresh poster, in `out`.
    Raises: ValueError where the lengths differ or there is no poster; as `explain_images`.
    """
    if len({len(images), len(labels), len(probabilities), len(titles)}) != 1 or len(images) == 0:
        raise ValueError(
            f"one label, probability and title per image is needed, got {len(images)=}, {len(labels)=}, "
            f"{len(probabilities)=}, {len(titles)=}"
        )
    explainer = Explainer(model, method=method, layer_name=layer_name)
    chosen = choose_posters(np.asarray(labels), np.asarray(probabilities), threshold)
    how = explainer.how
    written = []
    for name, (heading, rows) in chosen.items():
        pictures = np.asarray(images[rows])
        written.append(
            write_sheet(
                out / f"{name}.png",
                pictures,
                explainer.explain(pictures, batch_size=batch_size),
                [titles[row] for row in rows],
                [int(labels[row]) for row in rows],
                [float(probabilities[row]) for row in rows],
                f"{heading} ({how})",
            )
        )
    surest = int(np.argmax(probabilities))
    written.extend(write_activation_grids(model, np.asarray(images[surest]), out))
    return written


def choose_posters(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float
) -> dict[str, tuple[str, np.ndarray]]:
    """Chooses the rows of the four sheets: name -> (heading, at most 8 rows, the surest or worst first).

    A poster is an error where it was called Fresh (its probability is `threshold` or more) and is Rotten, or
    the other way round.
    """
    rising = np.argsort(probabilities, kind="stable")
    falling = np.argsort(-probabilities, kind="stable")
    false_fresh = [row for row in falling if labels[row] == 0 and probabilities[row] >= threshold]
    false_rotten = [row for row in rising if labels[row] == 1 and probabilities[row] < threshold]
    return {
        "cam_fresh_top8": ("Highest probability of Fresh", falling[:SURE]),
        "cam_rotten_top8": ("Lowest probability of Fresh", rising[:SURE]),
        "cam_false_fresh_worst8": ("Called Fresh, true label Rotten", np.array(false_fresh[:SURE], int)),
        "cam_false_rotten_worst8": ("Called Rotten, true label Fresh", np.array(false_rotten[:SURE], int)),
    }


def _folder_names(posters: Sequence[Path]) -> list[str]:
    """One folder per poster, named after it; two posters of one name get numbers."""
    names: list[str] = []
    for path in posters:
        stem = path.stem.lstrip(".") or "poster"  # "...jpg" must not write into the folder above
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}_{number}", number + 1
        names.append(name)
    return names
