"""The training posters that a network finds most alike, drawn beside the ones asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ExplanationError
from poster_ml.explain.likeness import PooledFeatures
from poster_ml.explain.sheets import write_rows
from poster_ml.serving.load import load_reference
from poster_ml.serving.reference import Neighbours

COUNT = 8
HEADING = "The most alike training posters, as the network sees them just before it decides"


def stored_neighbours(model_uri: str, dataset: PreparedDataset) -> Neighbours:
    """Returns the training posters that a model was logged with, which the dataset must hold.

    Raises: RegistryError; ExplanationError where it was logged without, or trained on other posters.
    """
    reference = load_reference(model_uri)
    if reference is None or reference.neighbours is None:
        raise ExplanationError(
            f"{model_uri} was logged without features of its training posters, which --data would draw: "
            "leave --data out"
        )
    check_trained_on(reference.neighbours, dataset, model_uri)
    return reference.neighbours


def check_trained_on(neighbours: Neighbours, dataset: PreparedDataset, model_uri: str) -> None:
    """Refuses a dataset that does not hold the posters which a model was trained on.

    Raises: ExplanationError.
    """
    if not set(_named(neighbours.movies)) <= set(_named(dataset.index)):
        raise ExplanationError(
            f"{model_uri} was trained on other posters than {dataset.folder} holds: give --data the "
            "dataset of its training, or leave it out"
        )


def _named(movies: pd.DataFrame) -> Iterator[tuple[str, str]]:
    # A title that is missing is a gap in one of the two tables and an empty text in the other.
    return zip(movies["movie_id"].astype(str), movies["title"].fillna("").astype(str), strict=True)


def draw_neighbours(
    path: Path,
    model: Any,
    images: np.ndarray,
    names: Sequence[str],
    neighbours: Neighbours,
    dataset: PreparedDataset,
) -> Path:
    """Draws each poster and, beside it, the eight that are most alike with what the critics said.

    Args:
        path: PNG file.
        model: as of `PooledFeatures`.
        images: (N, H, W, 3) uint8. names: of the N posters.
        neighbours: as of `stored_neighbours`.
        dataset: holds their pictures.
    """
    places = {str(movie): row for row, movie in enumerate(dataset.index["movie_id"])}
    rows = []
    for image, name, found in zip(
        images, names, neighbours.nearest(PooledFeatures(model)(images), COUNT), strict=True
    ):
        cells = [(image, name)]
        for one in found:
            year = f" ({one['year']})" if one["year"] else ""
            caption = f"{one['title'] or one['movie_id']}{year}\n{one['label']}, cosine {one['cosine']:.2f}"
            cells.append((np.asarray(dataset.images[places[one["movie_id"]]]), caption))
        rows.append(cells)
    return write_rows(path, rows, HEADING)
