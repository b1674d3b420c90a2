"""The kinds of image file that a poster may be: one list for reading, listing, downloading, scoring."""

from __future__ import annotations

from pathlib import PurePath

#: Pillow's name of each kind -> endings of its files, the usual one first; in order of preference where a
#: movie has several files.
KINDS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
#: All endings, in the same order.
SUFFIXES = tuple(suffix for suffixes in KINDS.values() for suffix in suffixes)
#: The kinds in words, for messages.
NAMES = "JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF"


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name; hidden files are half-written or other programs' notes."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES
