"""One poster: from a file of any kind to upright RGB pixels of one size, or a reason why not.

Everything that serves or prepares posters decodes them here, so that a model sees the same pixels
for the same file. Imports Pillow and NumPy only: a worker process starts in a moment.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from poster_ml.errors import RequestError, one_line
from poster_ml.files import printable

#: Pillow's name of each kind of image -> endings of its files, the usual one first; in order of
#: preference where a movie has several files. One list for reading, listing, downloading, scoring.
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
FITS = ("squash", "pad", "crop")
MAX_PIXELS = 50_000_000  # 150 MB as RGB; the largest studio one-sheets in circulation have about 24 million
MAX_FILE_BYTES = 64 * 2**20  # a file is read whole, so that it is hashed and decoded from the same bytes
MIN_SIDE = 32
MAX_ASPECT = 4.0
THUMBNAIL = 64
FLAT_SHARE = 0.995  # of the thumbnail's pixels ...
FLAT_LEVELS = 8  # ... within so many levels of the median colour: JPEG noise on one colour stays below 4

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)

Pixels = npt.NDArray[np.uint8]

# Pillow warns of sizes (checked here) and damaged EXIF (ignored): nothing to act on.
warnings.filterwarnings("ignore", module=r"PIL\.|poster_ml\.data\.images")


@dataclass(frozen=True)
class DecodedPoster:
    """Pixels for a model, and what the file was.

    Attributes:
        pixels: (size, size, 3) uint8 RGB.
        thumbnail: (64, 64, 3) uint8, area averages of the whole picture, squashed.
        width, height: pixels of the source, upright (after its EXIF orientation).
        format: Pillow's name of the file format, for example "JPEG".
    """

    pixels: Pixels
    thumbnail: Pixels
    width: int
    height: int
    format: str


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name; hidden ones are half-written or other programs'."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES


def decode_poster(
    source: Path | bytes, size: int, fit: str = "squash", *, max_pixels: int = MAX_PIXELS
) -> DecodedPoster:
    """Decodes one poster to (size, size, 3).

    Of an animation or a file of several pages the first frame is taken. Transparency is composited on white,
    16-bit and float grey is scaled to 8 bits, CMYK converted to RGB, the EXIF orientation applied.

    Args:
        source: a file, or the bytes of one.
        size: side of the result in pixels, at least 1.
        fit: "squash" changes the aspect; "pad" keeps it and fills up with the median colour of the picture's
            border, which draws no edge of its own; "crop" keeps it and takes the centre.
        max_pixels: more declared pixels than that are refused before anything is decoded.

    Raises: RequestError; the message is the reason, "<kind>: <detail>", and fits in a table of rejected rows.
    """
    data = read_bytes(source) if isinstance(source, Path) else bytes(source)
    if not data:
        raise RequestError("empty file: it has 0 bytes")
    image = _open(data, max_pixels)
    width, height, file_format = image.width, image.height, str(image.format)
    upright, turned = _load_upright(image, size)
    if turned:
        width, height = height, width
    thumbnail = np.asarray(upright.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    if is_flat(thumbnail):
        raise RequestError("one colour: a placeholder, not a poster")
    return DecodedPoster(fit_image(upright, size, fit), thumbnail, width, height, file_format)


def read_bytes(path: Path) -> bytes:
    """Returns the content of a poster file; RequestError where it is missing, no file or over 64 MiB."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 2**20
            raise RequestError(
                f"file too large: {path.stat().st_size / 2**20:.0f} MiB, at most {limit} allowed"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"missing file: {printable(path.name)}") from None
    except OSError as error:
        raise RequestError(
            f"unreadable file: {printable(path.name)} ({error.strerror or type(error).__name__})"
        ) from None


def is_flat(thumbnail: Pixels) -> bool:
    """Says whether (h, w, 3) pixels are of one colour but for noise and specks."""
    # Within the limits below a channel's variance is at most 8^2 + .005 * 255^2: most posters are far above,
    # and the median costs as much as decoding them.
    bound = FLAT_LEVELS**2 + (1 - FLAT_SHARE) * 255**2
    if any(thumbnail[..., channel].var() > bound for channel in range(3)):
        return False
    distance = np.abs(thumbnail.astype(np.int16) - np.median(thumbnail, axis=(0, 1)))
    return bool((distance.max(axis=-1) <= FLAT_LEVELS).mean() >= FLAT_SHARE)


def fit_image(image: Image.Image, size: int, fit: str = "squash") -> Pixels:
    """Fits an RGB image into a square; `fit` as for `decode_poster`. Returns (size, size, 3) uint8."""
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}, got {fit=}")
    if fit == "pad":
        return _pad(image, size)
    # Bicubic with Pillow's support scaling is antialiased; Lanczos rings around small type.
    if fit == "crop":
        return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def _pad(image: Image.Image, size: int) -> Pixels:
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    inner = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    border = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])  # (2w + 2h, 3)
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:] = np.median(border, axis=0).round()
    top, left = (size - height) // 2, (size - width) // 2
    pixels[top : top + height, left : left + width] = inner
    return pixels


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Reads the header and refuses by what it declares, before a pixel is decoded."""
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=tuple(KINDS))
    except Image.DecompressionBombError:
        raise RequestError(f"too many pixels: over the limit of {max_pixels / 1e6:g} megapixels") from None
    except UnidentifiedImageError:
        start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        is_page = start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg"))
        what = "an HTML or XML page" if is_page else f"no {NAMES} that can be read"
        raise RequestError(f"not an image: {what}") from None
    except Exception as error:
        # Pillow's parsers of damaged headers raise nearly anything: struct.error, SyntaxError, KeyError, ...
        raise RequestError(f"broken image: its header cannot be read ({one_line(error, 80)})") from None
    width, height = image.size
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:g} megapixels"
        raise RequestError(f"too many pixels: {width} x {height} declared, over the limit of {limit}")
    if min(width, height) < MIN_SIDE:
        raise RequestError(f"too small: {width} x {height} pixels, each side must have at least {MIN_SIDE}")
    ratio = max(width, height) / min(width, height)
    if ratio > MAX_ASPECT:
        raise RequestError(
            f"odd aspect: {width} x {height} is {ratio:.1f}:1, at most {MAX_ASPECT:g}:1 allowed"
        )
    return image


def _load_upright(image: Image.Image, size: int) -> tuple[Image.Image, bool]:
    """Decodes the first frame; returns it as upright RGB and whether width and height were exchanged."""
    try:
        # libjpeg reduces by 2, 4 or 8 while decoding. Twice the target leaves the resize enough to average:
        # on 2000 x 3000 posters 4 times faster, mean difference from the full decode under 1 of 255 levels.
        image.draft(None, (2 * size, 2 * size))
        image.load()
    except Exception as error:
        raise RequestError(
            f"broken image: {image.format} data cannot be decoded ({one_line(error, 80)})"
        ) from None
    try:
        turned = image.getexif().get(_ORIENTATION) in _SIDEWAYS
        image = ImageOps.exif_transpose(image)
    except Exception:
        turned = False  # damaged EXIF says nothing about the pixels: they stay as stored
    try:
        return _to_rgb(image), turned
    except Exception as error:
        raise RequestError(f"unsupported colours: mode {image.mode} ({one_line(error, 80)})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: npt.NDArray[np.generic]) -> Pixels:
    """Scales grey of 16 bits, 32 bits or floats to 8 bits; Pillow's own conversion clips at 255.

    White is 65,535 for 16 bits. Wider numbers do not say: floats up to 1 are shares of white,
    numbers up to 255 levels, up to 65,535 sixteen bits; beyond that the largest is white.
    """
    levels = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    largest = float(levels.max(initial=0.0))
    white = max(65535.0, largest)
    if np.issubdtype(values.dtype, np.floating) and largest <= 1:
        white = 1.0
    elif values.dtype.itemsize > 2 and largest <= 255:
        white = 255.0
    return np.asarray((levels * (255.0 / white)).round(), dtype=np.uint8)
