"""`poster-ml explain`: class activation maps and intermediate layers of any poster files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from poster_ml.cluster import KILLED, check_paths, check_scheduler, map_in_order, open_if_asked
from poster_ml.data.images import decode_poster
from poster_ml.errors import DatasetError, RequestError
from poster_ml.explain.activations import write_activation_grids
from poster_ml.explain.faithfulness import draw_maps, probability_function
from poster_ml.explain.maps import Explainer
from poster_ml.explain.sheets import poster_caption, write_sheet
from poster_ml.files import open_output_folder, printable
from poster_ml.pipeline.poster_files import check_posters, locate_model, walk_posters
from poster_ml.progress import progress
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.settings import ServingSettings
from poster_ml.tracking.store import use_store

POSTERS_PER_SHEET = 8
_ONE_AT_A_TIME = Lock()  # in one worker process: Keras and Matplotlib have global state


@dataclass(frozen=True)
class ExplainResult:
    """The pictures that were written."""

    files: list[Path]

    def text(self) -> str:
        """Returns one path per line."""
        return "\n".join(printable(file) for file in self.files)


def run_explain(
    model_uri: str,
    posters: Sequence[Path],
    out: Path,
    *,
    layer: str = "",
    workers: int = 1,
    scheduler: str = "",
    dashboard: bool = False,
) -> ExplainResult:
    """Writes `maps_<number>.png`, sheets of 8 posters, and for each poster `<name>/activations_<layer>.png`.

    Args:
        model_uri: models:/NAME@ALIAS, runs:/RUN_ID/model or a folder.
        posters: image files, or folders of them.
        out: folder for the pictures.
        layer: of the map, and the one drawn as a grid; empty: the model's own choice.
        workers: processes on this machine; 1 draws in this one.
        scheduler: of a Dask cluster whose workers draw; empty: POSTER_ML_SCHEDULER, else none.
        dashboard: print where Dask's dashboard shows it.

    Raises: DatasetError for files that are missing or no posters; OutputError where `out` holds other files;
        ClusterError; RegistryError; UnknownLayerError. Nothing is written then.
    """
    check_posters(posters)
    check_scheduler(scheduler, workers)
    uri, store, paths = locate_model(model_uri)
    files = list(walk_posters(posters))
    with open_if_asked(workers, scheduler, dashboard, [*posters, *paths]) as client:
        sheets = _Sheets(uri, store, layer, out.absolute())
        absolute = [path.absolute() for path in files]
        decoded = progress(absolute, "decoding posters")
        given = iter(files)
        for _, reasons in map_in_order(client, sheets.check, decoded, batch=POSTERS_PER_SHEET):
            for reason in reasons or [KILLED]:
                path = next(given)
                if reason:
                    raise DatasetError(f"{printable(path)}: {reason}; leave it out or give a whole image")
        open_output_folder(out, "explain")
        if client:
            check_paths(client, [out])
        named = iter(zip(absolute, _folder_names(files), strict=True))
        jobs = list(enumerate(iter(lambda: list(islice(named, POSTERS_PER_SHEET)), []), start=1))
        drawn = map_in_order(client, sheets.draw, progress(jobs, "drawing"), batch=1)
        written, grids = [], []
        for [(number, _)], names in drawn:
            if names is None:
                raise DatasetError(
                    f"drawing sheet {number} killed its worker again and again: give fewer posters"
                )
            written.append(out / names[0])
            grids += [out / name for name in names[1:]]
    return ExplainResult(written + grids)


@dataclass(frozen=True)
class _Sheets:
    """The tasks: posters are looked at, and drawn, in a process that loads the model once.

    `store` is the URI and experiment of the command, empty where the model needs none; `out` is absolute.
    """

    model_uri: str
    store: tuple[str, ...]
    layer: str
    out: Path

    def check(self, files: list[Path]) -> list[str]:
        """Returns for each file why it cannot be decoded, "" where it can."""
        settings = self._load()[1]
        return [_decode(path, settings)[1] for path in files]

    def draw(self, jobs: list[tuple[int, list[tuple[Path, str]]]]) -> list[str]:
        """Draws one sheet and the layers of its posters; returns their names, as seen from `out`."""
        [(number, posters)] = jobs
        model, settings, explainer = self._load()
        images = np.stack([_decode(path, settings)[0] for path, _ in posters])
        with _ONE_AT_A_TIME:
            probabilities = probability_function(model, settings.temperature)(images)
            captions = [
                poster_caption(printable(path.stem), probability)
                for (path, _), probability in zip(posters, probabilities, strict=True)
            ]
            heading = f"Where {model.name} sees Fresh and Rotten ({explainer.how})"
            sheet = self.out / f"maps_{number}.png"
            written = [write_sheet(sheet, images, draw_maps(explainer, images), captions, heading)]
            layers = [self.layer] if self.layer else []
            for image, (_, folder) in zip(images, posters, strict=True):
                written += write_activation_grids(model, image, self.out / folder, layers)
        return [str(path.relative_to(self.out)) for path in written]

    def _load(self) -> tuple[Any, ServingSettings, Explainer]:
        with _ONE_AT_A_TIME:
            return _load_once(self.model_uri, self.store, self.layer)


@lru_cache(maxsize=1)
def _load_once(model_uri: str, store: tuple[str, ...], layer: str) -> tuple[Any, ServingSettings, Explainer]:
    if store:
        use_store(*store)
    model, settings = load_keras_model(model_uri)
    layer = layer or settings.explain_layer
    return model, settings, Explainer(model, method=settings.explain_method, layer_name=layer)


def _decode(path: Path, settings: ServingSettings) -> tuple[np.ndarray, str]:
    try:
        return decode_poster(path, settings.size, settings.fit).pixels, ""
    except RequestError as error:
        return np.empty(0), str(error)


def _folder_names(files: Sequence[Path]) -> list[str]:
    """One folder per poster, named after it; two posters of one name get numbers."""
    names: dict[str, None] = {}
    for path in files:
        stem = path.stem.lstrip(".") or "poster"  # "...jpg" must not write into the folder above
        numbered = (f"{stem}_{number}" for number in count(2))
        names[next(name for name in chain([stem], numbered) if name not in names)] = None
    return list(names)
