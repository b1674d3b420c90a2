"""Pictures as far from each other as posters are, and as files."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def poster(seed: int = 0, width: int = 60, height: int = 90) -> Image.Image:
    """A smooth random picture with shapes."""
    colours = np.random.default_rng(seed).integers(0, 256, (9, 6, 3), np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    """What a file of this picture holds."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def declared_png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG file that declares a size, whatever its compressed rows hold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
