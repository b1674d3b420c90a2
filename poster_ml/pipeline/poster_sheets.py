"""Posters drawn with their maps and layers, a sheet at a time, in this process or on workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.cluster import KILLED, Client, map_in_order
from poster_ml.data.images import decode_poster
from poster_ml.errors import DatasetError, RequestError
from poster_ml.explain.activations import write_activation_grids
from poster_ml.explain.faithfulness import draw_maps, probability_function
from poster_ml.explain.maps import Explainer
from poster_ml.explain.sheets import poster_caption, write_sheet
from poster_ml.files import printable
from poster_ml.pipeline.hidden_parts import hide_parts, part_finders
from poster_ml.pipeline.poster_files import ONE_AT_A_TIME
from poster_ml.progress import progress
from poster_ml.serving.settings import ServingSettings

logger = logging.getLogger(__name__)

CHECKED = 8  # files per task


@dataclass(frozen=True)
class PosterSheets:
    """The tasks of `poster-ml explain`, in this process or on a worker: posters are looked at, and drawn.

    Attributes:
        load: gives the model and its settings. what_if: what is hidden, names as of `part_finders`.
        layer: of the map, and the one drawn as a grid; empty: the model's own choice.
        folder: where the paths of posters start from.
        out: folder of the pictures, absolute.
    """

    load: Callable[[], tuple[Any, ServingSettings]]
    what_if: tuple[str, ...]
    layer: str
    folder: Path
    out: Path

    def check(self, files: list[Path]) -> list[str]:
        """Returns for each file why it cannot be decoded, "" where it can."""
        with ONE_AT_A_TIME:
            _, settings = self.load()
            self._explainer()
        return [read_poster(self.folder / path, settings)[1] for path in files]

    def draw(self, jobs: list[tuple[int, list[tuple[Path, str]]]]) -> tuple[list[str], pd.DataFrame]:
        """Draws one sheet and the layers of its posters, and hides parts of them.

        Returns: the names of the pictures, as seen from `out`; the table of `hide_parts`.
        """
        [(number, posters)] = jobs
        with ONE_AT_A_TIME:
            model, settings = self.load()
            explainer = self._explainer()
            images = np.stack([read_poster(self.folder / path, settings)[0] for path, _ in posters])
            predict = probability_function(model, settings.temperature)
            captions = [
                poster_caption(printable(path.stem), probability)
                for (path, _), probability in zip(posters, predict(images), strict=True)
            ]
            heading = f"Where {model.name} sees Fresh and Rotten ({explainer.how})"
            sheet = self.out / f"maps_{number}.png"
            written = [write_sheet(sheet, images, draw_maps(explainer, images), captions, heading)]
            layers = [self.layer] if self.layer else []
            for image, (_, folder) in zip(images, posters, strict=True):
                written += write_activation_grids(model, image, self.out / folder, layers)
            names = [printable(path) for path, _ in posters]
            hidden = hide_parts(predict, images, names, part_finders(self.what_if))
        return [str(path.relative_to(self.out)) for path in written], hidden

    def _explainer(self) -> Explainer:
        model, settings = self.load()
        return _explainer(model, settings.explain_method, self.layer or settings.explain_layer)


@lru_cache(maxsize=1)
def _explainer(model: Any, method: str, layer: str) -> Explainer:
    return Explainer(model, method=method, layer_name=layer)


def decodable(
    client: Client | None, sheets: PosterSheets, files: Sequence[Path], named: Sequence[Path]
) -> list[Path]:
    """Returns the files that can be decoded; a warning names the others.

    Args:
        client: of a cluster that decodes; None: this process.
        sheets: of the model.
        files: to look at.
        named: by the user: files, and folders that others of `files` were found in.

    Raises: DatasetError where one of the others was named itself, not found in a folder, or none is left.
    """
    decoded = map_in_order(client or 1, sheets.check, progress(files, "decoding posters"), batch=CHECKED)
    found = (reason for batch, reasons in decoded for reason in reasons or [KILLED] * len(batch))
    broken = {path: reason for path, reason in zip(files, found, strict=True) if reason}
    whole = [path for path in files if path not in broken]
    for path, reason in broken.items():
        if path in named or not whole:
            raise DatasetError(f"{printable(path)}: {reason}; leave it out or give a whole image")
        logger.warning(f"{printable(path)} is left out: {reason}")
    return whole


def read_poster(path: Path, settings: ServingSettings) -> tuple[np.ndarray, str]:
    """Returns the pixels (S, S, 3) uint8 and "", or an empty array and why it cannot be decoded."""
    try:
        return decode_poster(path, settings.size, settings.fit).pixels, ""
    except RequestError as error:
        return np.empty(0), str(error)


def folder_names(files: Sequence[Path]) -> list[str]:
    """Returns one folder per poster, named after it; two posters of one name get numbers."""
    names: dict[str, None] = {}
    for path in files:
        stem = path.stem.lstrip(".") or "poster"  # "...jpg" must not write into the folder above
        numbered = (f"{stem}_{number}" for number in count(2))
        names[next(name for name in chain([stem], numbered) if name not in names)] = None
    return list(names)
