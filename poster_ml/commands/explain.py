"""`poster-ml explain`: class activation maps and intermediate layers of any poster files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poster_ml.data.images import decode_poster
from poster_ml.errors import DatasetError, RequestError
from poster_ml.explain.posters import explain_files
from poster_ml.files import check_output_folder, command_result, printable
from poster_ml.pipeline.poster_files import check_posters, walk_posters
from poster_ml.serving.load import load_keras_model
from poster_ml.tracking.store import connect, needs_store


@dataclass(frozen=True)
class ExplainResult:
    """The pictures that were written."""

    files: list[Path]

    def text(self) -> str:
        """Returns one path per line."""
        return "\n".join(printable(file) for file in self.files)


def run_explain(model_uri: str, posters: Sequence[Path], out: Path, *, layer: str = "") -> ExplainResult:
    """Writes sheets of maps and grids of layers.

    Args:
        model_uri: models:/NAME@ALIAS, runs:/RUN_ID/model or a folder.
        posters: image files, or folders of them.
        out: folder for the pictures.
        layer: of the map; empty: the model's own choice.

    Raises: DatasetError for files that are missing or no posters; OutputError where `out` holds other files;
        RegistryError; UnknownLayerError.
    """
    check_output_folder(out, command_result("explain"))
    check_posters(posters)
    files = list(walk_posters(posters))
    if needs_store(model_uri):
        connect()
    model, settings = load_keras_model(model_uri)

    def decode(path: Path) -> np.ndarray:
        try:
            return decode_poster(path, settings.size, settings.fit).pixels
        except RequestError as error:
            raise DatasetError(f"{printable(path)}: {error}; leave it out or give a whole image") from error

    return ExplainResult(
        explain_files(
            model,
            files,
            out,
            method=settings.explain_method,
            layer_name=layer or settings.explain_layer,
            decode=decode,
        )
    )
