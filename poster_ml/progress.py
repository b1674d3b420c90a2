"""Progress bars: on stderr, and only when a person is watching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yields the items and shows how far it is; silent when stderr is not a terminal.

    Args:
        items: what is worked through.
        description: a few words, for example "decoding posters".
        total: how many there are, where `items` has no length.
    """
    yield from tqdm(items, desc=description, total=total, disable=None, leave=False)
