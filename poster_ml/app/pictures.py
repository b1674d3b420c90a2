"""The training posters as pictures for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from PIL import Image

from poster_ml.app.look import data_uri
from poster_ml.data.reading import PreparedDataset


class Pictures(Mapping[str, str]):
    """Posters of a prepared dataset as data URIs by movie id, in their own shape; made when looked at."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self._dataset = dataset

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self._dataset.index["movie_id"])}

    def __getitem__(self, movie_id: str) -> str:
        """Returns the poster's picture. Raises: KeyError where the dataset has none."""
        row = self._rows[movie_id]
        picture, source = Image.fromarray(self._dataset.images[row]), self._dataset.index.iloc[row]
        if self._dataset.manifest["options"]["fit"] == "squash":
            width = max(1, round(picture.height * source["width"] / source["height"]))
            picture = picture.resize((width, picture.height))
        return data_uri(picture)

    def __iter__(self) -> Iterator[str]:
        """Goes over movie ids."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Returns the number of posters."""
        return len(self._rows)
