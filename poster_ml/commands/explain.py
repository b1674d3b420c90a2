"""`poster-ml explain`: class activation maps and intermediate layers of any poster files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from poster_ml.data.images import decode_poster
from poster_ml.errors import DatasetError, RequestError
from poster_ml.explain.activations import write_activation_grids
from poster_ml.explain.faithfulness import draw_maps, probability_function
from poster_ml.explain.maps import Explainer
from poster_ml.explain.sheets import poster_caption, write_sheet
from poster_ml.files import atomic_path, open_output_folder, printable
from poster_ml.pipeline.hidden_parts import hide_parts, part_finders, sentence
from poster_ml.pipeline.poster_files import check_posters, walk_posters
from poster_ml.progress import progress
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.settings import ServingSettings
from poster_ml.tracking.store import connect, needs_store

POSTERS_PER_SHEET = 8


@dataclass(frozen=True)
class ExplainResult:
    """The files that were written, and what hiding parts changes, as of `hide_parts`."""

    files: list[Path]
    what_if: list[dict[Any, Any]] = field(default_factory=list)

    def text(self) -> str:
        """Returns one path per line, then a line per hidden part."""
        return "\n".join([*(printable(file) for file in self.files), *map(sentence, self.what_if)])


def run_explain(
    model_uri: str, posters: Sequence[Path], out: Path, *, layer: str = "", what_if: Sequence[str] = ()
) -> ExplainResult:
    """Writes `maps_<number>.png`, sheets of 8 posters, and for each poster `<name>/activations_<layer>.png`.

    Where asked what hiding parts of the posters changes, also `what_if.csv`.

    Args:
        model_uri: models:/NAME@ALIAS, runs:/RUN_ID/model or a folder.
        posters: image files, or folders of them.
        out: folder for the pictures.
        layer: of the map, and the one drawn as a grid; empty: the model's own choice.
        what_if: of "text", "faces", "border", "centre"; the first two need the extra `detect`.

    Raises: DatasetError for files that are missing or no posters; ExplanationError for `what_if`; OutputError
        where `out` holds other files; RegistryError; UnknownLayerError. Nothing is written then.
    """
    check_posters(posters)
    finders = part_finders(what_if)
    files = list(walk_posters(posters))
    if needs_store(model_uri):
        connect()
    model, settings = load_keras_model(model_uri)
    explainer = Explainer(model, method=settings.explain_method, layer_name=layer or settings.explain_layer)
    images = np.stack([_decode(path, settings) for path in progress(files, "decoding posters")])
    predict = probability_function(model, settings.temperature)
    probabilities = predict(images)
    maps = draw_maps(explainer, images)
    heading = f"Where {model.name} sees Fresh and Rotten ({explainer.how})"
    open_output_folder(out, "explain")
    captions = [
        poster_caption(printable(path.stem), probability)
        for path, probability in zip(files, probabilities, strict=True)
    ]
    written = []
    for number, start in enumerate(range(0, len(files), POSTERS_PER_SHEET), start=1):
        rows = slice(start, start + POSTERS_PER_SHEET)
        path = out / f"maps_{number}.png"
        written.append(write_sheet(path, images[rows], maps[rows], captions[rows], heading))
    folders = _folder_names(files)
    for image, folder in zip(images, progress(folders, "drawing layers"), strict=True):
        written += write_activation_grids(model, image, out / folder, [layer] if layer else [])
    if not what_if:
        return ExplainResult(written)
    found = hide_parts(predict, images, [printable(path) for path in files], finders)
    with atomic_path(out / "what_if.csv") as temporary:
        found.to_csv(temporary, index=False, float_format="%.6f")
    return ExplainResult([*written, out / "what_if.csv"], found.to_dict("records"))


def _decode(path: Path, settings: ServingSettings) -> np.ndarray:
    try:
        return decode_poster(path, settings.size, settings.fit).pixels
    except RequestError as error:
        raise DatasetError(f"{printable(path)}: {error}; leave it out or give a whole image") from error


def _folder_names(files: Sequence[Path]) -> list[str]:
    """One folder per poster, named after it; two posters of one name get numbers."""
    names: list[str] = []
    for path in files:
        stem = path.stem.lstrip(".") or "poster"  # "...jpg" must not write into the folder above
        numbered = (f"{stem}_{number}" for number in count(2))
        names.append(next(name for name in chain([stem], numbered) if name not in names))
    return names
