"""What the page knows of the model that it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class About:
    """The model behind the page.

    name: as registered, or its URI. size: side of the network's square input in pixels.
    genres: that it knows.
    figures: rows `split, accuracy, roc_auc, majority` as texts. facts: further lines, name to text.
    examples: paths of poster files to try. pictures: movie id to a data URI of its poster, where the dataset
    is at hand.
    """

    name: str
    size: int
    genres: tuple[str, ...] = ()
    figures: tuple[Mapping[str, str], ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
