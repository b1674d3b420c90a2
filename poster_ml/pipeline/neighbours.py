"""Training posters as a network sees them: kept with its model, drawn beside those asked about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.config import ExperimentConfig
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import ExplanationError
from poster_ml.explain.likeness import PooledFeatures, last_map, pooled_network
from poster_ml.explain.sheets import write_rows
from poster_ml.models.freezing import split_at
from poster_ml.models.graph import parents
from poster_ml.pipeline.fit import TrainedModel
from poster_ml.progress import progress
from poster_ml.serving.load import load_reference
from poster_ml.serving.reference import Neighbours
from poster_ml.training.batches import Samples, release_pages

logger = logging.getLogger(__name__)

COUNT = 8
BATCH = 64  # posters at once
HEADING = "The most alike training posters, as the network sees them just before it decides"


def training_neighbours(
    trained: TrainedModel, config: ExperimentConfig, dataset: PreparedDataset
) -> Neighbours | None:
    """Returns the training posters as the trained network sees them.

    Features that the network was fitted on are not computed again: only the layers above them run. Where
    they are those of a later layer than `PooledFeatures` looks at, the frozen layers would have to run once
    more, which can take longer than the training: then there are none, which is said.
    """
    rows = dataset.indices("train", config.max_samples, config.seed)
    movies = dataset.index.iloc[rows].reset_index(drop=True)
    cut, learned = trained.fitted.inputs.cut, trained.fitted.inputs.train
    if not cut or config.augment.active:
        return Neighbours.of(_computed(PooledFeatures(trained.model), dataset.images, rows), movies)
    map_layer = last_map(trained.model)
    pooled = pooled_network(trained.model)
    if cut in [layer.name for layer in pooled.layers]:
        _, above = split_at(pooled, cut)
        return Neighbours.of(_computed(above.predict_on_batch, learned.images, learned.rows), movies)
    if parents(trained.model)[cut] == [map_layer.name]:
        places = (int(np.prod(map_layer.output.shape[1:3])), int(map_layer.output.shape[3]))
        return Neighbours.of(_means(learned, places), movies)
    logger.info(
        "the model is logged without neighbours: its frozen features are those of %s, not of its last map %s",
        cut,
        map_layer.name,
    )
    return None


def joined_neighbours(members: Sequence[Neighbours | None]) -> Neighbours | None:
    """Returns the training posters as an ensemble sees them: the features of its networks side by side.

    None where a network has none, or they were trained on different posters.
    """
    known = [member for member in members if member is not None]
    if len(known) < len(members) or any(not one.movies.equals(known[0].movies) for one in known):
        logger.info("the ensemble is logged without neighbours: not all of its networks have the same")
        return None
    return Neighbours.of(
        np.concatenate([one.features.astype(np.float32) for one in known], 1), known[0].movies
    )


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


def _computed(pooled: Callable[[np.ndarray], Any], images: Any, rows: np.ndarray) -> np.ndarray:
    starts = range(0, len(rows), BATCH)
    parts = []
    for start in progress(starts, "features of the training posters", total=len(starts)):
        batch = np.asarray(images[rows[start : start + BATCH]])  # posters, or features of any float type
        parts.append(np.asarray(pooled(batch if batch.dtype == np.uint8 else batch.astype(np.float32))))
        release_pages(images)
    return np.concatenate(parts)


def _means(samples: Samples, places: tuple[int, int]) -> np.ndarray:
    """Returns the means (n, K) over the places of flat maps (n, h * w * K), or of what is means already."""
    parts = []
    for start in range(0, len(samples), BATCH):
        maps = np.asarray(samples.images[start : start + BATCH], np.float32)
        parts.append(maps if maps.shape[1:] == places[1:] else maps.reshape(len(maps), *places).mean(axis=1))
        release_pages(samples.images)
    return np.concatenate(parts)
