"""`poster-ml explain`: class activation maps and intermediate layers of any poster files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.cluster import check_paths, check_scheduler, is_asked, map_in_order, open_if_asked
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import DatasetError
from poster_ml.files import open_output_folder, printable, write_text
from poster_ml.pipeline.hidden_parts import part_finders, sentence
from poster_ml.pipeline.neighbours import draw_neighbours, stored_neighbours
from poster_ml.pipeline.poster_files import check_posters, folders_of, locate_model, walk_posters
from poster_ml.pipeline.poster_sheets import PosterSheets, decodable, folder_names, read_poster
from poster_ml.progress import progress
from poster_ml.serving.load import load_keras_model

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
    model_uri: str,
    posters: Sequence[Path],
    out: Path,
    *,
    layer: str = "",
    what_if: Sequence[str] = (),
    data: Path | None = None,
    workers: int = 1,
    scheduler: str = "",
    dashboard: bool = False,
) -> ExplainResult:
    """Writes `maps_<number>.png`, sheets of 8 posters, and for each poster `<name>/activations_<layer>.png`.

    Where asked what hiding parts of the posters changes, also `what_if.csv`.

    Args:
        model_uri: models:/NAME@ALIAS, runs:/RUN_ID/model or a folder.
        posters: image files, or folders of them.
        out: folder for the pictures.
        layer: of the map, and the one drawn as a grid; empty: the model's own choice.
        what_if: of "text", "faces", "border", "centre"; the first two need the extra `detect`.
        data: the prepared dataset that the model was trained on: then `neighbours_<number>.png`
            show the most alike of its posters.
        workers: processes on this machine; 1 draws in this one.
        scheduler: of a Dask cluster whose workers draw; empty: POSTER_ML_SCHEDULER, else none.
        dashboard: print where Dask's dashboard shows it.

    A broken image of a folder is left out, and said; one that was named itself is refused.

    Raises: DatasetError for files that are missing or no posters; ExplanationError for `what_if`;
        OutputError where `out` holds other files; RegistryError; UnknownLayerError; ClusterError.
        Nothing is written then.
    """
    check_posters(posters)
    part_finders(tuple(what_if))  # refuses now what it cannot find
    dataset = None if data is None else PreparedDataset.open(data)
    check_scheduler(scheduler, workers)
    here = not is_asked(workers, scheduler, dashboard)
    load, paths = locate_model(model_uri, load_keras_model, here)
    alike = None if dataset is None else (stored_neighbours(model_uri, dataset), dataset)
    files = list(walk_posters(posters))
    with open_if_asked(workers, scheduler, dashboard, [*folders_of(posters), *paths]) as client:
        sheets = PosterSheets(load, tuple(what_if), layer, Path.cwd(), out.absolute())
        files = decodable(client, sheets, files, posters)
        open_output_folder(out, "explain")
        if client:
            check_paths(client, [out])
        named = iter(zip(files, folder_names(files), strict=True))
        jobs = list(enumerate(iter(lambda: list(islice(named, POSTERS_PER_SHEET)), []), start=1))
        drawn = map_in_order(client or 1, sheets.draw, progress(jobs, "drawing"), batch=1)
        written, grids, tables = [], [], []
        for [(number, _)], sheet in drawn:
            if sheet is None:
                raise DatasetError(
                    f"drawing sheet {number} crashed its worker repeatedly: give fewer posters"
                )
            (name, *others), table = sheet
            written.append(out / name)
            grids += [out / name for name in others]
            tables.append(table)
        if alike is not None:
            for number, part in jobs:
                images = np.stack([read_poster(path, load()[1])[0] for path, _ in part])
                names = [printable(path.stem) for path, _ in part]
                file = out / f"neighbours_{number}.png"
                written.append(draw_neighbours(file, load()[0], images, names, *alike))
    if not what_if:
        return ExplainResult(written + grids)
    found = pd.concat(tables, ignore_index=True)
    write_text(out / "what_if.csv", found.to_csv(index=False, float_format="%.6f"))
    return ExplainResult([*written, *grids, out / "what_if.csv"], found.to_dict("records"))
